"""Detects that a room was recreated by the avatar's reconnect and that its people stay away."""

from __future__ import annotations

ALONE_S = 30.0


class RecreatedRoomWatch:
    """Checked periodically while connected, and notified of each reconnect.

    A room deleted while the avatar's connection is away cannot announce it. The avatar reconnects,
    which creates a new room of the same name, just as after a restart of LiveKit. Only people who
    come back tell the two apart. Pure: time is an argument, in seconds of time.monotonic().

    Attributes:
        accompanied: somebody was there at the last check.
    """

    def __init__(self, timeout_s: float) -> None:
        """How long a new room may stay without people. LiveKit announces a room's sid up to 5 s
        late, so a shorter time cannot tell a new room."""
        self._timeout_s = timeout_s
        self._sid: str | None = None  # of the room in which people were last seen
        self._returned: float | None = None  # when the wait for people began
        self.accompanied = False

    def returned(self, now: float) -> None:
        """The connection is back. An avatar that was alone before may stay so."""
        if self.accompanied:
            self._returned = now

    def abandoned(self, people: bool, sid: str | None, now: float) -> bool:
        """Whether the avatar waited in vain, in another room than the one its people were in.

        Args:
            people: whether anyone but avatars is there.
            sid: of the room, if known.
        """
        if people:
            self._sid, self._returned = sid, None
        self.accompanied = people
        if self._returned is None or now - self._returned < self._timeout_s:
            return False
        if None in (sid, self._sid):  # unknown for now; the next check asks again
            return False
        self._returned = None
        return sid != self._sid
