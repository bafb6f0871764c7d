"""Whether an avatar has been by itself for as long as its session allows."""

from __future__ import annotations

from livekit import rtc

from app.rtc.input.microphone import is_avatar

# Neither a person nor an agent: it records what others do.
NO_COMPANY = frozenset({rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS})


def accompanied(room: rtc.Room) -> bool:
    """A person or an agent is there. Avatars and recorders are no company, whosever they are."""
    return any(
        each.kind not in NO_COMPANY and not is_avatar(each)
        for each in room.remote_participants.values()
    )


class EmptyRoomWatch:
    """Looked at now and then while connected. Pure: time is an argument, in monotonic seconds.

    The wait begins with the avatar's join, and anew at the first look after the last one has left.
    Nobody can come while the connection is away: that time does not count.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._looked: float | None = None
        self._accompanied = False
        self._alone_s = 0.0

    def connected(self, now: float) -> None:
        """The avatar has joined, or is back."""
        self._looked = now

    def deserted(self, accompanied: bool, now: float) -> bool:
        """Whether nobody has been there for all of the patience."""
        passed = now - self._looked if self._looked is not None else 0.0
        self._looked = now
        self._alone_s = 0.0 if accompanied or self._accompanied else self._alone_s + passed
        self._accompanied = accompanied
        return self._alone_s >= self._patience_s
