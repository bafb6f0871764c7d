"""A participant that watches an avatar and records when each picture and sound arrived."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from bench.clients.participant import LiveKitAccess, join_avatar
from bench.measure.mouth import Luma, MouthRegion
from bench.measure.recording import Floats, Pcm, TimedAudio

RATE = 48_000  # Hz: Opus's own, so that nothing is resampled on the way


class Tape(Protocol):
    """Receives pictures and sound as they arrive, for a recording."""

    def picture(self, at: float, width: int, height: int, i420: bytes | memoryview) -> None: ...

    def sound(self, at: float, pcm: Pcm) -> None: ...


class Viewer:
    """Subscribes to one avatar's tracks. Of each picture only the mouth is kept.

    Arrivals are stamped as the first thing that happens to a picture or a sound in this
    process's loop; the loop is kept free: openings are worked out afterwards.
    """

    def __init__(
        self,
        access: LiveKitAccess,
        avatar: str,
        *,
        region: MouthRegion | None = None,
        tape: Tape | None = None,
    ) -> None:
        self._access = access
        self._avatar = avatar
        self._region = region
        self._tape = tape
        self._room = rtc.Room()
        self._watching: set[asyncio.Task[None]] = set()
        self._pictures: list[float] = []
        self._crops: list[Luma] = []
        self._sounds: list[tuple[float, Pcm]] = []
        self.first_picture = asyncio.Event()
        self.first_sound = asyncio.Event()

    async def start(self, room: str, identity: str = "viewer") -> None:
        """Join, and subscribe to the avatar's tracks now or when it comes."""
        await join_avatar(self._room, self._access, room, identity, self._avatar, self._take)

    async def aclose(self) -> None:
        """Leave the room; what was received stays. Idempotent."""
        for task in list(self._watching):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._room.disconnect()

    @property
    def arrivals(self) -> Floats:
        """(n,) when pictures arrived."""
        return np.array(self._pictures, np.float64)

    @property
    def crops(self) -> NDArray[np.uint8]:
        """(n, height, width) the mouth region of each picture."""
        return np.stack(self._crops) if self._crops else np.zeros((0, 1, 1), np.uint8)

    @property
    def heard(self) -> TimedAudio:
        return TimedAudio.of(self._sounds, RATE)

    def _take(self, track: rtc.RemoteTrack) -> None:
        watch = self._watch if track.kind == rtc.TrackKind.KIND_VIDEO else self._listen
        task = asyncio.create_task(watch(track))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.VideoStream(track)
        try:
            async for event in stream:
                self._picture(time.monotonic(), event.frame)
        finally:
            await stream.aclose()

    def _picture(self, now: float, frame: rtc.VideoFrame) -> None:
        self._pictures.append(now)
        self.first_picture.set()
        if self._region is not None:
            pixels = frame.width * frame.height
            luma = np.frombuffer(frame.data, np.uint8, pixels).reshape(frame.height, frame.width)
            self._crops.append(self._region.crop(luma))
        if self._tape is not None:
            self._tape.picture(now, frame.width, frame.height, frame.data)

    async def _listen(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self._sound(time.monotonic(), np.frombuffer(event.frame.data, np.int16).copy())
        finally:
            await stream.aclose()

    def _sound(self, now: float, pcm: Pcm) -> None:
        self._sounds.append((now, pcm))
        self.first_sound.set()
        if self._tape is not None:
            self._tape.sound(now, pcm)
