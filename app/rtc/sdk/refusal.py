"""Why LiveKit did not admit an avatar. Only this module reads error texts of LiveKit's library.

The library repeats a server's answer, and a caller's URL may lead to a server whose answers the
caller must not see. So none of its text is passed on: only the status and sentences of our own.
"""

from __future__ import annotations

import re

# How the library reports an HTTP answer; after the status comes the server's own text.
_ANSWERED = re.compile(
    r"(?:engine: )?(?:signal failure: )?(?:client|server|handshake) error: (\d{3})\b"
    r"|(?:engine: )?(?:signal failure: )?(?:transport )?http error: (\d{3})\b"
)
_UNAUTHORIZED = re.compile(r"(?:engine: )?signal failure: (?:client|handshake) error: 401\b")

# Phrases in the library's own part of a message; the first match counts.
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
    ("wait_pc_connection", "no media connection was established: check its UDP and TCP ports"),
    ("publication timed out", "it did not take the tracks"),
    ("timed out", "no answer in time"),
    ("timeout", "no answer in time"),
)
_LOOKED_AT = 300  # characters: the library's own words come first
UNKNOWN = "the connection failed"


class JoinError(Exception):
    """LiveKit could not be joined or did not accept the tracks; the message is our own."""


class TokenRefused(JoinError):
    """LiveKit answered 401, so retrying with this token is useless."""


def refusal(message: str) -> JoinError:
    """The error for a failed attempt, from the library's message."""
    if _UNAUTHORIZED.match(message):
        return TokenRefused("it answered 401")
    if answered := _ANSWERED.match(message):
        return JoinError(f"it answered {answered[1] or answered[2]}")
    said = message[:_LOOKED_AT]
    return JoinError(next((ours for theirs, ours in _SENTENCES if theirs in said), UNKNOWN))
