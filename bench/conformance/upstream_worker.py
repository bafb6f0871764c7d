"""LiveKit's own AvatarRunner as a worker, with a grey picture: what the suite says of it.

`voipavatar conformance --command "…/python -m bench.conformance.upstream_worker"`
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import (
    AudioSegmentEnd,
    AvatarOptions,
    AvatarRunner,
    DataStreamAudioReceiver,
    VideoGenerator,
)

FPS, RATE, SIZE = 25, 24_000, 64
PICTURE = rtc.VideoFrame(SIZE, SIZE, rtc.VideoBufferType.RGBA, bytes(SIZE * SIZE * 4))


class Grey(VideoGenerator):
    """A picture with each 40 ms of audio, and one every 40 ms without."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[rtc.AudioFrame | AudioSegmentEnd] = asyncio.Queue()
        self._resampler: rtc.AudioResampler | None = None

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        if isinstance(frame, AudioSegmentEnd):
            self._resampler = None
            self._queue.put_nowait(frame)
            return
        data = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
        mono = np.ascontiguousarray(data[:, 0])
        pieces = [rtc.AudioFrame(mono.tobytes(), frame.sample_rate, 1, len(mono))]
        if frame.sample_rate != RATE:
            self._resampler = self._resampler or rtc.AudioResampler(frame.sample_rate, RATE)
            pieces = self._resampler.push(pieces[0])
        for piece in pieces:
            self._queue.put_nowait(piece)

    def clear_buffer(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    async def __aiter__(
        self,
    ) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        while True:
            try:
                item = await asyncio.wait_for(self._queue.get(), 1 / FPS)
            except TimeoutError:
                yield PICTURE
                continue
            if isinstance(item, AudioSegmentEnd):
                yield item
                continue
            step = RATE // FPS
            pcm = np.frombuffer(item.data, np.int16)
            for start in range(0, len(pcm), step):
                piece = pcm[start : start + step]
                yield PICTURE
                yield rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece))


async def main() -> None:
    room = rtc.Room()
    gone = asyncio.Event()
    room.on("disconnected", lambda _: gone.set())
    await room.connect(os.environ["AVATAR_LIVEKIT_URL"], os.environ["AVATAR_TOKEN"])
    options = AvatarOptions(SIZE, SIZE, FPS, RATE, 1)
    runner = AvatarRunner(
        room, audio_recv=DataStreamAudioReceiver(room), video_gen=Grey(), options=options
    )
    await runner.start()
    await gone.wait()
    await runner.aclose()


if __name__ == "__main__":
    asyncio.run(main())
