"""Chooses the token for the next attempt to join a room."""

from __future__ import annotations

from collections.abc import Callable

from livekit import rtc

from app.rtc.sdk.livekit_private import token_of


class JoinTokens:
    """A new token of ours for each attempt, or the caller's only one.

    The caller's token may have expired by the time LiveKit is back from a restart. While the avatar
    is connected, LiveKit sends newer tokens, valid for ten minutes; the latest of these is used.
    """

    def __init__(self, make: Callable[[], str], *, renewable: bool) -> None:
        """`renewable`: `make` issues a new token at each call."""
        self._make = make
        self.renewable = renewable
        self._refreshed: str | None = None

    def next(self) -> str:
        return self._refreshed or self._make()

    def watch(self, room: rtc.Room) -> None:
        """Keep the tokens that LiveKit sends in a room about to be joined."""
        if not self.renewable:
            room.on("token_refreshed", lambda: self._keep(room))

    def another(self) -> bool:
        """The last token was refused; returns whether there is another to try."""
        # LiveKit signs with its first key, which may have been removed while the caller's is valid.
        another = self.renewable or self._refreshed is not None
        self._refreshed = None
        return another

    def _keep(self, room: rtc.Room) -> None:
        self._refreshed = token_of(room)
