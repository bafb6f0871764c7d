"""Which token the next attempt to join a room is made with."""

from __future__ import annotations

from collections.abc import Callable

from livekit import rtc

from app.rtc.sdk.livekit_private import token_of


class JoinTokens:
    """A new token of ours for each attempt, or the caller's only one.

    The caller's may have expired by the time that LiveKit is back from a restart. While the avatar
    is connected LiveKit sends newer ones, good for ten minutes, so the latest of these is used.
    """

    def __init__(self, make: Callable[[], str], *, renewable: bool) -> None:
        """`renewable`: `make` makes a new one at each call."""
        self._make = make
        self.renewable = renewable
        self._refreshed: str | None = None

    def next(self) -> str:
        return self._refreshed or self._make()

    def watch(self, room: rtc.Room) -> None:
        """Keep what LiveKit sends to a room that is about to be joined."""
        if not self.renewable:
            room.on("token_refreshed", lambda: self._keep(room))

    def another(self) -> bool:
        """The last one was refused: whether a next one may be taken."""
        # LiveKit signs with the first of its keys, which may be gone when the caller's is not.
        another = self.renewable or self._refreshed is not None
        self._refreshed = None
        return another

    def _keep(self, room: rtc.Room) -> None:
        self._refreshed = token_of(room)
