"""Lets people interrupt an agent's avatar by speaking. Their speech is not played."""

from __future__ import annotations

import asyncio
from functools import partial

import numpy as np
import structlog
from livekit import rtc

from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.input.decryption import Decrypted, unsure_frames
from app.rtc.input.microphone import CAPACITY, FRAME_MS, is_avatar, on_change, voice_of
from app.rtc.input.speech_gate import GateConfig, SpeechGate
from app.rtc.output.speech_in import loudness
from app.rtc.output.timing import Timing
from engine import SAMPLE_RATE

log = structlog.get_logger(__name__)

PEOPLE = frozenset(
    {
        rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD,
        rtc.ParticipantKind.PARTICIPANT_KIND_SIP,  # callers by telephone
    }
)


class BargeIn:
    """A `SpeechSource` around an agent's speech, which it interrupts when a person starts to speak.

    With `wanted` only that identity counts, otherwise every person in the room. Agents and avatars
    are not listened to.
    """

    def __init__(
        self, voice: AgentSpeech, wanted: str | None, agent: str, config: GateConfig, timing: Timing
    ) -> None:
        self._voice = voice
        self._wanted = wanted
        self._agent = agent
        self._config = config
        self._timing = timing
        self._room: rtc.Room | None = None
        self._decrypted: Decrypted | None = None
        self._readers: dict[rtc.Track, asyncio.Task[None]] = {}

    def attach(self, room: rtc.Room) -> None:
        """Listen in a room just joined."""
        self._voice.attach(room)
        self._room = room
        self._decrypted = Decrypted(room)
        on_change(room, lambda: self._review(room))
        self._review(room)

    async def drain(self) -> None:
        await self._voice.drain()

    async def aclose(self) -> None:
        """Call this after leaving the room."""
        self._room = None
        readers = list(self._readers.values())
        self._readers.clear()
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await self._voice.aclose()

    def interrupt(self) -> None:
        self._voice.interrupt()

    def _review(self, room: rtc.Room) -> None:
        """Update subscriptions and readers to match who is there."""
        if room is not self._room or self._decrypted is None:
            return
        tracks: set[rtc.Track] = set()
        for participant in room.remote_participants.values():
            voice = voice_of(room, participant) if self._counts(participant) else None
            for publication in participant.track_publications.values():
                if publication.subscribed != (publication is voice):
                    publication.set_subscribed(publication is voice)
            if (track := self._decrypted.track_of(participant, voice)) is not None:
                tracks.add(track)
        for gone in self._readers.keys() - tracks:
            self._readers.pop(gone).cancel()
        for track in tracks - self._readers.keys():
            self._readers[track] = reader = asyncio.create_task(
                self._listen(track, unsure_frames(room))
            )
            reader.add_done_callback(partial(self._ended, track))

    def _ended(self, track: rtc.Track, reader: asyncio.Task[None]) -> None:
        """Log a failure; the next change in the room starts a new reader."""
        if self._readers.get(track) is reader:
            del self._readers[track]
        if not reader.cancelled() and (error := reader.exception()) is not None:
            log.error("listening to a person failed", exc_info=error)

    def _counts(self, participant: rtc.RemoteParticipant) -> bool:
        if participant.identity == self._agent or is_avatar(participant):
            return False
        if self._wanted is not None:
            return participant.identity == self._wanted
        return participant.kind in PEOPLE

    async def _listen(self, track: rtc.Track, unsure: int) -> None:
        stream = rtc.AudioStream(
            track,
            capacity=CAPACITY,
            sample_rate=SAMPLE_RATE,
            num_channels=1,
            frame_size_ms=FRAME_MS,
        )
        gate = SpeechGate(self._config)
        try:
            async for event in stream:
                if unsure:
                    unsure -= 1
                    continue
                level = loudness(np.frombuffer(event.frame.data, np.int16))
                if gate.feed(level, FRAME_MS / 1000):
                    self._began_to_speak()
        finally:
            await stream.aclose()

    def _began_to_speak(self) -> None:
        if self._voice.speaking:
            log.info("interrupted by a person's speech")
            self._timing.barged_in()
            self._voice.interrupt()
