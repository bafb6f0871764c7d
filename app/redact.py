"""Takes tokens out of texts: LiveKit repeats a token that it refuses, and its library passes it on.

What LiveKit says goes through `said` where it comes in; everything that is logged goes through
`without_tokens`, whoever wrote it.
"""

from __future__ import annotations

import re

HIDDEN = "[token]"
LONGEST = 500  # characters of somebody else's text: their server may say anything, without end
READ = 4096  # so many of them are looked at: it is done letter by letter, between two pictures

# A JSON Web Token, also one that was cut short; or one whose first part is written unusually.
# Where a match may begin is bounded, so that a long text takes no longer than its length.
TOKEN = re.compile(
    r"eyJ[\w-]{5,}(?:\.[\w-]+){0,2}|(?<![\w-])[\w-]{16,}\.[\w-]{16,}\.[\w-]{43,}", re.ASCII
)
_LETTER = re.compile(r"[\w-]", re.ASCII)
RUN = 16  # letters that a text and a token do not share by chance


def without_tokens(text: str) -> str:
    return TOKEN.sub(HIDDEN, text)


def without(text: str, secret: str) -> str:
    """Without whatever it has in common with a secret, also where that is a part of it, or is
    broken into lines or by spaces: RUN characters in a row of letters, digits, `_` and `-`."""
    known, _ = _letters(secret)
    runs = {known[at : at + RUN] for at in range(len(known) - RUN + 1)}
    letters, places = _letters(text)
    shared: set[int] = set()  # places in the text
    for at in range(len(letters) - RUN + 1):
        if letters[at : at + RUN] in runs:
            shared.update(range(places[at], places[at + RUN - 1] + 1))
    return "".join(
        letter if at not in shared else "" if at - 1 in shared else HIDDEN
        for at, letter in enumerate(text)
    )


def _letters(text: str) -> tuple[str, list[int]]:
    """Those of a text that tokens are made of, and their places."""
    places = [found.start() for found in _LETTER.finditer(text)]
    return "".join(text[at] for at in places), places


def said(text: str, secret: str = "") -> str:
    """Another program's words, fit to be stored and shown: one line, not too long, no token, and
    nothing of the secret that it was told."""
    plain = without_tokens(without(text[:READ], secret))
    plain = "".join(letter if letter.isprintable() else " " for letter in plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= LONGEST else plain[:LONGEST] + "…"
