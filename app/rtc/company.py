"""Whether people have come back to a room that was made anew under the avatar."""

from __future__ import annotations

ALONE_S = 30.0


class Company:
    """Looked at now and then while connected, and told of each return.

    A room that is deleted while the avatar's connection is away cannot say so: the avatar comes
    back, which makes a new room of that name, as after a restart of LiveKit. What tells the two
    apart is that people come back, too. Pure: time is an argument, seconds of time.monotonic().

    Attributes:
        accompanied: somebody was there when it was looked last.
    """

    def __init__(self, patience_s: float) -> None:
        """How long a new room may stay without people. LiveKit tells of a new room, by its sid, up
        to 5 s late: less is not enough to know one."""
        self._patience_s = patience_s
        self._sid: str | None = None  # of the room in which people were seen last
        self._returned: float | None = None  # since when people are awaited
        self.accompanied = False

    def returned(self, now: float) -> None:
        """The connection is there again. Whoever was alone before may stay so."""
        if self.accompanied:
            self._returned = now

    def abandoned(self, people: bool, sid: str | None, now: float) -> bool:
        """Whether the avatar has waited in vain, in another room than that of its people.

        Args:
            people: whether others than avatars are there.
            sid: of the room, as far as is known.
        """
        if people:
            self._sid, self._returned = sid, None
        self.accompanied = people
        if self._returned is None or now - self._returned < self._patience_s:
            return False
        if None in (sid, self._sid):  # not known now: asked again at the next look
            return False
        self._returned = None
        return sid != self._sid
