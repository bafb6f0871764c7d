"""Takes tokens and other servers' words out of what is logged, whoever wrote it.

What LiveKit's library says of a refusal never leaves app/rtc/sdk/refusal.py; its own log lines do,
and repeat what a server answered.
"""

from __future__ import annotations

import re

HIDDEN = "[token]"
LEFT_OUT = "[answer left out]"

# A JSON Web Token, also one that was cut short; or one whose first part is written unusually.
# Where a match may begin is bounded, so that a long text takes no longer than its length.
TOKEN = re.compile(
    r"eyJ[\w-]{5,}(?:\.[\w-]+){0,2}|(?<![\w-])[\w-]{16,}\.[\w-]{16,}\.[\w-]{43,}", re.ASCII
)
# How LiveKit's library writes what a server answered: as a text, and as a value.
_ANSWER = re.compile(r"(\b(?:client|server) error: \d{3}\b[^-\n]{0,60}- ).*", re.DOTALL)
_ANSWER_VALUE = re.compile(r"(\b(?:Client|Server)\(\d{3}, \"|\bBody\(\"|\bbody: \").*", re.DOTALL)


def without_tokens(text: str) -> str:
    return TOKEN.sub(HIDDEN, text)


def without_answers(text: str) -> str:
    """A log message of LiveKit's library without what a server wrote: from there to its end."""
    return _ANSWER_VALUE.sub(rf"\1{LEFT_OUT}", _ANSWER.sub(rf"\1{LEFT_OUT}", text))
