"""Why LiveKit did not let an avatar in. The only place that reads what its library says.

The library repeats what a server answered, and a caller's URL may lead to a server that is none of
the caller's business. So none of its words go on: only the status, and sentences of our own.
"""

from __future__ import annotations

import re

# As the library puts an HTTP answer; what follows the status is the server's own text.
_ANSWERED = re.compile(
    r"(?:engine: )?(?:signal failure: )?(?:client|server|handshake) error: (\d{3})\b"
    r"|(?:engine: )?(?:signal failure: )?(?:transport )?http error: (\d{3})\b"
)
_UNAUTHORIZED = re.compile(r"(?:engine: )?signal failure: (?:client|handshake) error: 401\b")

# What stands in the library's own part of a message; the first one that fits counts.
_SENTENCES = (
    ("invalid peer certificate", "its certificate is not trusted: set SSL_CERT_FILE"),
    ("native root certificates", "no trusted certificates were found: set SSL_CERT_FILE"),
    ("Proxy connection", "no connection to it was opened"),
    ("Connection refused", "connection refused"),
    ("Connection reset", "the connection was reset"),
    ("failed to lookup address", "its name does not resolve"),
    ("Network is unreachable", "the network is unreachable"),
    ("Too many open files", "this process has no file descriptors left: raise `ulimit -n`"),
    ("failed to receive", "it did not answer the join"),
    ("wait_pc_connection", "no media connection came about: look at its UDP and TCP ports"),
    ("publication timed out", "it did not take the tracks"),
    ("timed out", "no answer in time"),
    ("timeout", "no answer in time"),
)
_LOOKED_AT = 300  # characters: whatever the library itself says comes first
UNKNOWN = "the connection failed"


class JoinError(Exception):
    """LiveKit could not be joined or did not take the tracks; the reason in our own words."""


class TokenRefused(JoinError):
    """LiveKit answered 401: it will not take this token, however often it is asked."""


def refusal(message: str) -> JoinError:
    """The error for what LiveKit's library says of an attempt that failed."""
    if _UNAUTHORIZED.match(message):
        return TokenRefused("it answered 401")
    if answered := _ANSWERED.match(message):
        return JoinError(f"it answered {answered[1] or answered[2]}")
    said = message[:_LOOKED_AT]
    return JoinError(next((ours for theirs, ours in _SENTENCES if theirs in said), UNKNOWN))
