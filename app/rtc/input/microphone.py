"""Follows one participant's microphone and forwards its speech."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import numpy as np
import structlog
from livekit import rtc

from app.rtc.input.decryption import Decrypted, can_be_decoded, unsure_frames
from app.rtc.output.speech_in import OUT_RATE, Pcm
from app.rtc.sdk.names import AVATAR_ATTRIBUTES, AVATAR_TRACKS

log = structlog.get_logger(__name__)

# Speech is cut into frames of this length anyway, so shorter ones would not arrive earlier, while
# each frame of each session is an event for the whole process (livekit.md §2.8).
FRAME_MS = 40
CAPACITY = 25  # frames kept for a lagging loop: 1 s, after which the oldest are dropped


class SpeechSink(Protocol):
    """The receiver of speech."""

    def begin_segment(self, rate: int, channels: int) -> object: ...

    def push(self, pcm: Pcm) -> None: ...

    def end_segment(self) -> None: ...

    def clear(self) -> None: ...


class Microphone:
    """Chooses a participant, subscribes to that microphone alone and reads it.

    With `wanted` only that identity counts. Otherwise an open microphone is followed, which is one
    that is published and not muted: agents before people, earlier before later ones. When it
    closes, the next open one takes over. Avatars are never followed (docs/api.md, "Sessions").
    """

    def __init__(
        self, speech: SpeechSink, wanted: str | None, on_absence: Callable[[bool], None]
    ) -> None:
        self._speech = speech
        self._wanted = wanted
        self._on_absence = on_absence
        self._room: rtc.Room | None = None
        self._decrypted: Decrypted | None = None
        self._followed: str | None = None  # identity
        self._reading: tuple[rtc.Track, asyncio.Task[None]] | None = None  # track and its reader
        self._absent = False  # the followed participant has left and is not back

    def attach(self, room: rtc.Room) -> None:
        """Use a room just joined. Events report changes only, so review its present state, too."""
        self._room = room
        self._decrypted = Decrypted(room)
        on_change(room, lambda: self._review(room))
        self._review(room)

    async def drain(self) -> None:
        """Nothing to do: nobody waits for reports of live speech."""

    async def aclose(self) -> None:
        self._room = None
        if self._reading is not None:
            _, task = self._reading
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._reading = None

    def interrupt(self) -> None:
        """Drop speech not yet played; later speech plays as usual."""
        self._speech.clear()
        if self._reading is not None:
            self._speech.begin_segment(OUT_RATE, 1)

    def _review(self, room: rtc.Room) -> None:
        """Update the subscription and reader to match who is there."""
        if room is not self._room:
            return
        speaker = self._choose(room)
        self._note_presence(speaker)
        for participant in room.remote_participants.values():
            for publication in participant.track_publications.values():
                wanted = participant is speaker and publication is voice_of(room, participant)
                if publication.subscribed != wanted:
                    publication.set_subscribed(wanted)
        track = None
        if speaker is not None and self._decrypted is not None:
            track = self._decrypted.track_of(speaker, voice_of(room, speaker))
        # After a full reconnect the same microphone has a new track object; the old one is silent.
        if track is not None and (self._reading is None or self._reading[0] is not track):
            self._read(track, unsure_frames(room))

    def _choose(self, room: rtc.Room) -> rtc.RemoteParticipant | None:
        people = [p for p in room.remote_participants.values() if not is_avatar(p)]
        if self._wanted is not None:
            return next((p for p in people if p.identity == self._wanted), None)
        kept = [p for p in people if p.identity == self._followed]
        for candidates in (
            [p for p in people if is_open(voice_of(room, p))],
            kept,  # no microphone is open: the one followed last may reopen and is not absent
            [p for p in people if voice_of(room, p) is not None],
        ):
            agents = [p for p in candidates if p.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT]
            best = agents or candidates
            if best:
                return next((p for p in best if p in kept), best[0])
        return None

    def _note_presence(self, speaker: rtc.RemoteParticipant | None) -> None:
        if speaker is not None and speaker.identity != self._followed:
            log.info("following a microphone", participant_kind=int(speaker.kind))
            self._followed = speaker.identity
        absent = speaker is None and self._followed is not None
        if absent != self._absent:
            self._absent = absent
            self._on_absence(absent)

    def _read(self, track: rtc.Track, unsure: int) -> None:
        if self._reading is not None:
            self._reading[1].cancel()
        task = asyncio.create_task(self._forward(track, unsure), name=f"microphone {track.sid}")
        self._reading = (track, task)

    async def _forward(self, track: rtc.Track, unsure: int) -> None:
        stream = rtc.AudioStream(
            track,
            capacity=CAPACITY,
            sample_rate=OUT_RATE,
            num_channels=1,
            frame_size_ms=FRAME_MS,
        )
        self._speech.begin_segment(OUT_RATE, 1)
        try:
            async for event in stream:
                if unsure:
                    unsure -= 1
                    continue
                self._speech.push(np.frombuffer(event.frame.data, np.int16))
        finally:
            # A microphone that took over has already begun its own segment, which continues.
            if self._reading is None or self._reading[1] is asyncio.current_task():
                self._reading = None
                self._speech.end_segment()
            await stream.aclose()


def on_change(room: rtc.Room, review: Callable[[], None]) -> None:
    """Call `review` on every event that may change which participants can be heard."""
    for event in (
        "participant_connected",
        "participant_disconnected",
        "participant_attributes_changed",
        "track_published",
        "track_unpublished",
        "track_subscribed",
        "track_unsubscribed",
        "track_muted",
        "track_unmuted",
        "e2ee_state_changed",
        "reconnected",  # subscriptions requested while disconnected were lost
    ):
        room.on(event, lambda *_: review())


def is_avatar(participant: rtc.RemoteParticipant) -> bool:
    """Whether this is an avatar of any vendor, by its attributes or track names."""
    if any(name in participant.attributes for name in AVATAR_ATTRIBUTES):
        return True
    return any(p.name in AVATAR_TRACKS for p in participant.track_publications.values())


def voice_of(
    room: rtc.Room, participant: rtc.RemoteParticipant
) -> rtc.RemoteTrackPublication | None:
    """The participant's microphone, preferably an open one; tracks of unknown source count, shared
    screens and undecodable tracks do not."""
    voices = [
        publication
        for publication in participant.track_publications.values()
        if publication.kind == rtc.TrackKind.KIND_AUDIO
        and publication.source != rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO
        and can_be_decoded(room, publication)
    ]
    voices.sort(key=lambda p: (p.muted, p.source != rtc.TrackSource.SOURCE_MICROPHONE))
    return next(iter(voices), None)


def is_open(voice: rtc.RemoteTrackPublication | None) -> bool:
    """Whether it is published and not muted."""
    return voice is not None and not voice.muted
