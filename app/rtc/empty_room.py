"""Ends a session whose avatar has been alone for as long as the session allows."""

from __future__ import annotations

from livekit import rtc

from app.rtc.input.microphone import is_avatar

# Recorders observe and are neither people nor agents.
NO_COMPANY = frozenset({rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS})


def accompanied(room: rtc.Room) -> bool:
    """Whether a person or an agent is there; avatars and recorders do not count."""
    return any(
        each.kind not in NO_COMPANY and not is_avatar(each)
        for each in room.remote_participants.values()
    )


class EmptyRoomWatch:
    """Checked periodically while connected. Pure: time is an argument, in monotonic seconds.

    The wait begins with the avatar's join, and again at the first check after the last other
    participant has left. Time without a connection does not count, since nobody can join then.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._checked_at: float | None = None
        self._accompanied = False
        self._alone_s = 0.0

    def connected(self, now: float) -> None:
        """The avatar has joined or reconnected."""
        self._checked_at = now

    def deserted(self, accompanied: bool, now: float) -> bool:
        """Whether the avatar has been alone for the whole timeout."""
        passed = now - self._checked_at if self._checked_at is not None else 0.0
        self._checked_at = now
        self._alone_s = 0.0 if accompanied or self._accompanied else self._alone_s + passed
        self._accompanied = accompanied
        return self._alone_s >= self._timeout_s
