"""Renders a whole sound file through a pool: the path of live speech, without a clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

import numpy as np

from engine.core.engine_errors import EngineFault
from engine.core.persona import Persona
from engine.core.types import FRAME_S, SAMPLES_PER_FRAME, Pcm, Picture
from engine.serving.pool import EnginePool
from engine.serving.stream import Stream

IN_FLIGHT = 16  # pictures requested and not yet taken: two of the CPU's largest batches
NO_HURRY_S = 3600.0  # nothing is late offline; deadlines only keep the order
PATIENCE_S = 120.0  # for one picture; a device may have to compile first

CLOSING = 4
"""Pictures over which the mouth closes at the end of a file: no time follows in which it could."""


async def render(pool: EnginePool, persona: Persona, pcm: Pcm) -> AsyncGenerator[Picture, None]:
    """Yields one picture per started 40 ms of sound, in order; the last shows a closed mouth.

    Args:
        pcm: (n,) int16 mono at 16 kHz.

    Raises:
        PoolFull: the pool has no free place.
        EngineFault: the backend failed.
    """
    count = -(-len(pcm) // SAMPLES_PER_FRAME)
    stream = pool.open_stream(persona)
    faults: list[str] = []
    news = asyncio.Event()
    stream.on_picture = news.set

    def failed(sentence: str) -> None:
        faults.append(sentence)
        news.set()

    stream.on_fault = failed
    ahead = IN_FLIGHT * SAMPLES_PER_FRAME
    pushed = asked = 0
    start = time.monotonic() + NO_HURRY_S
    try:
        for tick in range(count):
            while pushed < len(pcm) and asked - tick < IN_FLIGHT:
                stream.push(pcm[pushed : pushed + ahead])
                pushed += ahead
                if pushed >= len(pcm):
                    stream.end_segment()
                asked = _ask(stream, asked, start)
            picture = await _arrival(stream, tick, faults, news)
            yield _faded(picture, stream.idle(tick), count - 1 - tick)
    finally:
        stream.close()


def _ask(stream: Stream, asked: int, start: float) -> int:
    """Requests every picture whose sound is complete; returns the number requested in all."""
    for frame in range(asked, stream.complete):
        stream.request(frame, tick=frame, due=start + frame * FRAME_S)
    return stream.complete


async def _arrival(
    stream: Stream, tick: int, faults: Sequence[str], news: asyncio.Event
) -> Picture:
    """Waits for the picture of a tick."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not stream.has(tick) and not faults:
                news.clear()
                await news.wait()
    picture = stream.picture(tick)
    if picture is None:
        raise EngineFault(faults[0] if faults else "The engine paints no more pictures.")
    return picture


def _faded(picture: Picture, idle: Picture, left: int) -> Picture:
    """Blends the last few pictures into the persona at rest; `left` pictures follow this one."""
    if left >= CLOSING:
        return picture
    weight = np.uint16(256 * left // CLOSING)
    mixed = picture * weight + idle * (np.uint16(256) - weight)
    return (mixed >> 8).astype(np.uint8)
