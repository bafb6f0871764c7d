"""Takes tokens out of texts: LiveKit repeats a token that it refuses, and its library passes it on.

What LiveKit says goes through `said` where it comes in; everything that is logged goes through
`without_tokens`, whoever wrote it.
"""

from __future__ import annotations

import re

HIDDEN = "[token]"
LONGEST = 500  # characters of somebody else's text: their server may say anything, without end

# A JSON Web Token, also one that was cut short; or one whose first part is written unusually.
# Where a match may begin is bounded, so that a long text takes no longer than its length.
TOKEN = re.compile(
    r"eyJ[\w-]{5,}(?:\.[\w-]+){0,2}|(?<![\w-])[\w-]{16,}\.[\w-]{16,}\.[\w-]{43,}", re.ASCII
)


def without_tokens(text: str) -> str:
    return TOKEN.sub(HIDDEN, text)


def said(text: str) -> str:
    """Another program's words, fit to be stored and shown: no token, one line, not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in without_tokens(text))
    plain = " ".join(plain.split())
    return plain if len(plain) <= LONGEST else plain[:LONGEST] + "…"
