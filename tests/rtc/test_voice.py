"""An avatar's sound on its way into LiveKit's library, which runs here for real."""

import asyncio
import threading
from collections import Counter

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc import _ffi_client

from app.rtc.output.audio_source import DirectAudioSource

RATE = 48_000
PIECE = np.zeros(RATE // 25, np.int16)
QUEUE_MS = 1000


async def test_every_piece_is_taken_of_voices_that_speak_at_once() -> None:
    voices = [DirectAudioSource(RATE, 1, QUEUE_MS) for _ in range(4)]

    async def speak(voice: DirectAudioSource) -> int:
        for _ in range(20):
            await voice.capture(PIECE)
        return 20

    assert await asyncio.gather(*map(speak, voices)) == [20] * 4
    for voice in voices:
        await voice.aclose()


async def test_nobody_else_is_told_of_a_piece() -> None:
    """Each room of a process would be, of each piece of each session."""
    queue = _ffi_client.FfiClient.instance.queue
    told = queue.subscribe()
    voice, plain = DirectAudioSource(RATE, 1, QUEUE_MS), rtc.AudioSource(RATE, 1, QUEUE_MS)
    try:
        for _ in range(10):
            await voice.capture(PIECE)
        await asyncio.sleep(0)
        assert told.empty()
        await plain.capture_frame(rtc.AudioFrame(PIECE.tobytes(), RATE, 1, len(PIECE)))
        assert (await asyncio.wait_for(told.get(), 5)).HasField("capture_audio_frame")
    finally:
        queue.unsubscribe(told)
        await voice.aclose()
        await plain.aclose()


async def test_plain_sources_go_on_beside_voices() -> None:
    voice, plain = DirectAudioSource(RATE, 1, QUEUE_MS), rtc.AudioSource(RATE, 1, QUEUE_MS)

    async def speak_plainly() -> None:
        for _ in range(50):
            await plain.capture_frame(rtc.AudioFrame(PIECE.tobytes(), RATE, 1, len(PIECE)))

    async def speak() -> None:
        for _ in range(50):
            await voice.capture(PIECE)
            voice.clear_queue()

    plain_one = asyncio.create_task(speak_plainly())
    await asyncio.wait_for(speak(), 20)
    await asyncio.wait_for(plain_one, 20)
    await voice.aclose()
    await plain.aclose()


async def test_threads_of_livekit_keep_their_state() -> None:
    """What a thread of theirs remembers would be gone with each call's end."""
    voice, plain = DirectAudioSource(RATE, 1, QUEUE_MS), rtc.AudioSource(RATE, 1, QUEUE_MS)
    await voice.capture(PIECE)
    memory = threading.local()
    calls: Counter[int] = Counter()

    def remember(_: object) -> bool:
        memory.calls = getattr(memory, "calls", 0) + 1
        calls[threading.get_ident()] = memory.calls
        return False

    queue = _ffi_client.FfiClient.instance.queue
    told = queue.subscribe(filter_fn=remember)
    try:
        for _ in range(20):
            await plain.capture_frame(rtc.AudioFrame(PIECE.tobytes(), RATE, 1, len(PIECE)))
            plain.clear_queue()
    finally:
        queue.unsubscribe(told)
    assert calls.total() >= 20
    await voice.aclose()
    await plain.aclose()


async def test_what_livekit_does_not_take_is_an_error() -> None:
    voice = DirectAudioSource(RATE, 1, 0)  # without a queue it takes 10 ms at a time
    with pytest.raises(RuntimeError, match="did not take"):
        await voice.capture(PIECE[:100])
    await voice.aclose()


async def test_a_closed_voice_is_silent() -> None:
    voice = DirectAudioSource(RATE, 1, QUEUE_MS)
    await voice.aclose()
    await asyncio.wait_for(voice.capture(PIECE), 5)
