"""Joins end-to-end encrypted rooms with their key; never decodes encrypted media without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from livekit import rtc

from app.rtc.input.decryption import is_sealed
from app.rtc.input.microphone import is_avatar, on_change

log = structlog.get_logger(__name__)

NO_KEY = (
    "The room is end-to-end encrypted, and the session has no key: start one with "
    "`e2ee`: {`key`: …}, the room's shared key."
)
# Nothing tells a key that does not fit from a microphone that sends nothing yet, so the session
# goes on, and its operator is told where to look.
DOUBT_S = 5.0
DOUBT = "nothing of an encrypted microphone could be decrypted so far: does `e2ee.key` fit?"


class Encryption:
    """Decides what a session may decode of its room.

    Without the key, encrypted media decode to loud noise and an agent's data never arrives. So
    nothing encrypted is decoded then, and a session with nothing else to follow ends.
    """

    def __init__(
        self,
        key: str | None,
        wanted: str | None,
        *,
        heard: Callable[[], bool],
        on_unsupported: Callable[[str], None],
    ) -> None:
        """With `wanted` only that participant counts. `heard` returns whether somebody was heard,
        so that encrypted tracks of others are no reason to end. `on_unsupported` gets the reason
        why the session cannot continue."""
        self._key = key
        self._wanted = wanted
        self._heard = heard
        self._on_unsupported = on_unsupported
        self._logged: set[str] = set()  # publications
        self._opened: set[str] = set()  # identities whose media the key has decrypted
        self._room: rtc.Room | None = None

    @property
    def options(self) -> rtc.E2EEOptions | None:
        """Join options that match the SDKs' defaults for a shared key."""
        if self._key is None:
            return None
        shared = rtc.KeyProviderOptions(shared_key=self._key.encode())
        return rtc.E2EEOptions(key_provider_options=shared)

    def before(self, attach: Callable[[rtc.Room], None]) -> Callable[[rtc.Room], None]:
        """Watch encryption in a room just joined, then attach the listener."""

        def both(room: rtc.Room) -> None:
            self._room = room
            room.on("e2ee_state_changed", self._changed)
            on_change(room, lambda: self._review(room))
            attach(room)
            self._review(room)

        return both

    def _review(self, room: rtc.Room) -> None:
        if room is not self._room:
            return
        if self._key is not None:
            self._review_decryption(room)
            return
        published = [
            (participant, publication)
            for participant in room.remote_participants.values()
            if not is_avatar(participant)
            for publication in participant.track_publications.values()
        ]
        for participant, publication in published:
            if is_sealed(publication) and publication.sid not in self._logged:
                self._logged.add(publication.sid)
                log.warning(
                    "an encrypted track is not decoded", identity=participant.identity, code="e2ee"
                )
        counting = [p for who, p in published if self._wanted in (None, who.identity)]
        if counting and all(map(is_sealed, counting)) and not self._heard():
            self._on_unsupported(NO_KEY)

    def _changed(self, who: rtc.Participant | None, state: rtc.EncryptionState.ValueType) -> None:
        if who is not None and state == rtc.EncryptionState.OK:
            self._opened.add(who.identity)

    def _review_decryption(self, room: rtc.Room) -> None:
        for who in room.remote_participants.values():
            for publication in who.track_publications.values():
                listened = publication.subscribed and not publication.muted
                if listened and is_sealed(publication) and publication.sid not in self._logged:
                    self._logged.add(publication.sid)
                    loop = asyncio.get_running_loop()
                    loop.call_later(DOUBT_S, self._doubt, room, who.identity, publication.sid)

    def _doubt(self, room: rtc.Room, identity: str, sid: str) -> None:
        who = room.remote_participants.get(identity)
        there = who is not None and sid in {each.sid for each in who.track_publications.values()}
        if room is self._room and there and identity not in self._opened:
            log.warning(DOUBT, identity=identity, code="e2ee")
