"""Why LiveKit did not let an avatar in. The only place that reads what it says."""

from __future__ import annotations

import re

from app.redact import said

# As the library puts an HTTP answer; what follows the status is the server's own text.
_UNAUTHORIZED = re.compile(r"(?:engine: )?signal failure: client error: 401\b")


class JoinError(Exception):
    """LiveKit could not be joined or did not take the tracks; its own words, but for the token."""


class TokenRefused(JoinError):
    """LiveKit answered 401: it will not take this token, however often it is asked."""


def refusal(message: str, token: str) -> JoinError:
    """The error for what LiveKit's library says of an attempt that failed, with that token."""
    kind = TokenRefused if _UNAUTHORIZED.match(message) else JoinError
    return kind(said(message, token))
