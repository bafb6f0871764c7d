"""A participant that publishes a microphone, silent until it is given something to say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

import numpy as np
from livekit import rtc

from bench.clients.participant import LiveKitAccess, join
from bench.measure.recording import Pcm, TimedAudio

PIECE_S = 0.01


class RoomSpeaker:
    """Sends 10 ms pieces like a microphone: each once its last sample has been spoken.

    The source has no queue of its own, so a piece is on its way when it is handed over, and
    the moments kept by `sent` are the true ones.
    """

    def __init__(self, access: LiveKitAccess, rate: int) -> None:
        self._access = access
        self._rate = rate
        self._piece = round(rate * PIECE_S)
        self._room = rtc.Room()
        self._source = rtc.AudioSource(rate, 1, queue_size_ms=0)
        self._waiting: deque[Pcm] = deque()
        self._said: list[tuple[float, Pcm]] = []
        self._quiet = asyncio.Event()
        self._talk: asyncio.Task[None] | None = None

    async def start(self, room: str, identity: str = "speaker") -> None:
        """Join and publish the microphone. Raises rtc.ConnectError."""
        await join(self._room, self._access, room, identity)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._room.local_participant.publish_track(track, options)
        self._talk = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Leave the room. Idempotent."""
        if self._talk is not None:
            self._talk.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._talk
            self._talk = None
        await self._room.disconnect()
        await self._source.aclose()

    async def say(self, pcm: Pcm) -> None:
        """Speak (n,) mono int16 at the speaker's rate in real time; returns when all is sent."""
        padded = np.pad(pcm, (0, -len(pcm) % self._piece))
        self._waiting.extend(padded.reshape(-1, self._piece))
        self._quiet.clear()
        await self._quiet.wait()

    @property
    def sent(self) -> TimedAudio:
        """All speech so far, with the time at which each sample was spoken."""
        return TimedAudio.of(self._said, self._rate)

    async def _run(self) -> None:
        silence = np.zeros(self._piece, np.int16)
        start = time.monotonic()
        for number in range(1, 1 << 62):
            await asyncio.sleep(max(0.0, start + number * PIECE_S - time.monotonic()))
            spoken = bool(self._waiting)
            pcm = self._waiting.popleft() if spoken else silence
            if spoken:
                self._said.append((time.monotonic() - PIECE_S, pcm))
            else:
                self._quiet.set()
            frame = rtc.AudioFrame(pcm.tobytes(), self._rate, 1, self._piece)
            await self._source.capture_frame(frame)
