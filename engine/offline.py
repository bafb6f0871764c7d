"""A whole sound file through a pool: the same way as live speech takes, without a clock."""

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

IN_FLIGHT = 16  # pictures asked for and not yet taken: two of the largest batches of the CPU
NO_HURRY_S = 3600.0  # offline nothing is late; deadlines only keep the order
PATIENCE_S = 120.0  # for one picture; a compiling device takes its time

CLOSING = 4
"""Pictures over which the mouth closes where a file ends: there is no time after it to do so."""


async def render(pool: EnginePool, persona: Persona, pcm: Pcm) -> AsyncGenerator[Picture, None]:
    """The pictures of a sound, one each begun 40 ms, in order; the last shows a closed mouth.

    Args:
        pcm: (n,) int16 mono at 16 kHz.

    Raises:
        CapacityExhausted: every place of the pool is taken.
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
    """Ask for every picture whose sound is complete; how many were asked for in all."""
    for frame in range(asked, stream.complete):
        stream.request(frame, tick=frame, due=start + frame * FRAME_S)
    return stream.complete


async def _arrival(
    stream: Stream, tick: int, faults: Sequence[str], news: asyncio.Event
) -> Picture:
    """The picture of a tick, as soon as it is there."""
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
    """A picture that has `left` after it: the last few turn into the persona at rest."""
    if left >= CLOSING:
        return picture
    weight = np.uint16(256 * left // CLOSING)
    mixed = picture * weight + idle * (np.uint16(256) - weight)
    return (mixed >> 8).astype(np.uint8)
