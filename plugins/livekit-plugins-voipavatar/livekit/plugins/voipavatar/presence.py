"""Tracks whether the requested avatar is in the room, as opposed to another with its identity."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Literal, get_args

from livekit import rtc

# Each request has its own mark in the attributes of the avatar's token. LiveKit keeps a killed
# avatar in the room for some 20 s, with its tracks, and other participants may use its identity.
MARK = "voipavatar.request"
# A reconnecting avatar is back by then; one that was told to leave does not come back.
BACK_WITHIN_S = 4.0
FOR_GOOD = frozenset(
    {
        rtc.DisconnectReason.CLIENT_INITIATED,
        rtc.DisconnectReason.PARTICIPANT_REMOVED,
        rtc.DisconnectReason.ROOM_DELETED,
    }
)
_Change = Literal["participant_active", "track_published", "participant_attributes_changed"]
_CHANGES: tuple[_Change, ...] = get_args(_Change)


class Presence:
    """Follows the avatars of successive requests, under one identity in one room."""

    def __init__(
        self,
        room: rtc.Room,
        identity: str,
        *,
        on_away: Callable[[], None],
        on_back: Callable[[], None],
    ) -> None:
        self._room = room
        self._identity = identity
        self._on_away, self._on_back = on_away, on_back
        self._mark = ""
        self._back_by: float | None = None  # deadline for an absent avatar to come back
        room.on("participant_disconnected", self._on_left)
        room.on("participant_active", self._on_active)

    def close(self) -> None:
        self._room.off("participant_disconnected", self._on_left)
        self._room.off("participant_active", self._on_active)

    def expect(self) -> str:
        """Expect another avatar from now on; returns the mark that it will carry."""
        self._mark, self._back_by = secrets.token_hex(8), None
        return self._mark

    @property
    def away(self) -> bool:
        """It has left and may come back."""
        return self._back_by is not None

    @property
    def lost(self) -> bool:
        """It has left and will not come back."""
        return self._back_by is not None and time.monotonic() >= self._back_by

    def has_joined(self) -> bool:
        """Whether it is in the room and has published its video."""
        who = self._room.remote_participants.get(self._identity)
        return (
            self._room.isconnected()
            and who is not None
            and self._is_it(who)
            and who.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE
            and any(
                publication.kind == rtc.TrackKind.KIND_VIDEO
                for publication in who.track_publications.values()
            )
        )

    async def joined(self) -> None:
        """Wait until it has joined. Raises RuntimeError if it leaves first."""
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def check(*_: object) -> None:
            if self.has_joined() and not settled.done():
                settled.set_result(None)

        def on_left(who: rtc.RemoteParticipant) -> None:
            if self._is_it(who) and not settled.done():
                settled.set_exception(RuntimeError("it left before it had published its video"))

        for event in _CHANGES:
            self._room.on(event, check)
        self._room.on("participant_disconnected", on_left)
        check()
        try:
            await settled
        finally:
            for event in _CHANGES:
                self._room.off(event, check)
            self._room.off("participant_disconnected", on_left)

    def _is_it(self, who: rtc.Participant) -> bool:
        """Whether this is the expected avatar, perhaps on a new connection."""
        return who.identity == self._identity and who.attributes.get(MARK) == self._mark

    def _on_left(self, who: rtc.RemoteParticipant) -> None:
        if self._is_it(who):
            for_good = who.disconnect_reason in FOR_GOOD
            self._back_by = time.monotonic() + (0.0 if for_good else BACK_WITHIN_S)
            self._on_away()

    def _on_active(self, who: rtc.RemoteParticipant) -> None:
        if who.identity != self._identity or self._back_by is None:
            return
        if self._is_it(who):
            self._back_by = None
            self._on_back()
        else:
            self._back_by = time.monotonic()  # another participant took its place


async def connected(room: rtc.Room) -> None:
    """Wait until the agent itself is in the room."""
    is_connected = asyncio.Event()

    def check(_: object = None) -> None:
        if room.isconnected():
            is_connected.set()

    room.on("connection_state_changed", check)
    check()
    try:
        await is_connected.wait()
    finally:
        room.off("connection_state_changed", check)
