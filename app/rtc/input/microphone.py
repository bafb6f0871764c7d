"""Follows one participant's microphone and passes its speech on."""

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

# Of the incoming stream: what speech is cut into, so that smaller frames would come no earlier,
# while each frame of each session is an event to all of the process (livekit.md §2.8).
FRAME_MS = 40
CAPACITY = 25  # frames held for a loop that lags: 1 s, then the oldest go


class SpeechSink(Protocol):
    """Where speech goes."""

    def begin_segment(self, rate: int, channels: int) -> object: ...

    def push(self, pcm: Pcm) -> None: ...

    def end_segment(self) -> None: ...

    def clear(self) -> None: ...


class Microphone:
    """In a room: chooses whom to follow, subscribes to that microphone alone, reads it.

    With `wanted` only that identity counts. Else an open microphone is followed: published and not
    muted, an agent's before a person's, the first one before later ones. The next open one takes
    over when it is closed. Never an avatar's: not this one, not another (contract.md, Sessions).
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
        self._reading: tuple[rtc.Track, asyncio.Task[None]] | None = None  # and its reader
        self._absent = False  # the followed one left and is not back

    def attach(self, room: rtc.Room) -> None:
        """Use a room just joined. Events only tell of changes, so look around once, too."""
        self._room = room
        self._decrypted = Decrypted(room)
        on_change(room, lambda: self._review(room))
        self._review(room)

    async def drain(self) -> None:
        """Nobody waits for reports of speech that is spoken live."""

    async def aclose(self) -> None:
        self._room = None
        if self._reading is not None:
            _, task = self._reading
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._reading = None

    def interrupt(self) -> None:
        """Drop what was heard and not yet played; what is spoken from now on is played again."""
        self._speech.clear()
        if self._reading is not None:
            self._speech.begin_segment(OUT_RATE, 1)

    def _review(self, room: rtc.Room) -> None:
        """Bring what is subscribed and read into line with who is there."""
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
        # After a full reconnect the same microphone is another track object; the old one is mute.
        if track is not None and (self._reading is None or self._reading[0] is not track):
            self._read(track, unsure_frames(room))

    def _choose(self, room: rtc.Room) -> rtc.RemoteParticipant | None:
        people = [p for p in room.remote_participants.values() if not is_avatar(p)]
        if self._wanted is not None:
            return next((p for p in people if p.identity == self._wanted), None)
        kept = [p for p in people if p.identity == self._followed]
        for candidates in (
            [p for p in people if is_open(voice_of(room, p))],
            kept,  # nobody can be heard: who was followed last may be again, and is not absent
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
        task = asyncio.create_task(self._pass_on(track, unsure), name=f"microphone {track.sid}")
        self._reading = (track, task)

    async def _pass_on(self, track: rtc.Track, unsure: int) -> None:
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
            # A microphone that has taken over has begun a segment of its own, which goes on.
            if self._reading is None or self._reading[1] is asyncio.current_task():
                self._reading = None
                self._speech.end_segment()
            await stream.aclose()


def on_change(room: rtc.Room, review: Callable[[], None]) -> None:
    """Call whenever others may be there to be heard."""
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
        "reconnected",  # what was asked for while the connection was away got lost
    ):
        room.on(event, lambda *_: review())


def is_avatar(participant: rtc.RemoteParticipant) -> bool:
    """Ours or another vendor's: stamped as speaking for somebody, or publishing avatar tracks."""
    if any(name in participant.attributes for name in AVATAR_ATTRIBUTES):
        return True
    return any(p.name in AVATAR_TRACKS for p in participant.track_publications.values())


def voice_of(
    room: rtc.Room, participant: rtc.RemoteParticipant
) -> rtc.RemoteTrackPublication | None:
    """The participant's microphone, an open one if there are several; a track of unknown source
    will do, shared screens won't, nor what cannot be decoded."""
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
    """It is published and can be heard."""
    return voice is not None and not voice.muted
