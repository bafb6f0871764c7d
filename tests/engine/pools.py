"""A running pool in a test, and what a session does with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import numpy as np

from engine.backends.backend import Backend
from engine.core.types import Pcm, Picture
from engine.engine_config import EngineConfig, Stall
from engine.serving.pool import EnginePool
from engine.serving.stream import Stream
from tests.engine.drawn import drawn_persona

SOON = 30.0  # seconds: a deadline that a busy test machine keeps
PATIENCE = 30.0
STALLED = EngineConfig(backend="warp", max_streams=4, stalls=(Stall(0.5, PATIENCE + 5),))
TALK = (8000 * np.sin(np.arange(640 * 20) * 0.3)).astype(np.int16)
SILENCE = np.zeros(640 * 20, np.int16)
PERSONA = drawn_persona()


@asynccontextmanager
async def running(
    backend: Backend | None = None, config: EngineConfig | None = None
) -> AsyncIterator[EnginePool]:
    config = config or EngineConfig(backend="warp", max_streams=4)
    pool = EnginePool(config, backend)
    pool.start()
    try:
        yield pool
    finally:
        await pool.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in another thread
            await asyncio.sleep(0.005)


async def shown(stream: Stream, tick: int) -> Picture:
    """The picture of a tick, taken once it is there: asking sooner would make it late."""
    await until(lambda: stream.has(tick))
    picture = stream.picture(tick)
    assert picture is not None
    return picture


async def past_a_stall_of(one: Stream) -> None:
    """Order what STALLED says for a stream, close it, and let the moment of the stall pass."""
    one.started(time.monotonic())
    one.close()
    one.started(time.monotonic())
    await asyncio.sleep(0.6)


def talk(stream: Stream, pcm: Pcm = TALK) -> None:
    stream.push(pcm)
    stream.end_segment()


def ask(stream: Stream, frames: range, tick: int = 0) -> None:
    for frame in frames:
        stream.request(frame, tick + frame, time.monotonic() + SOON)


class Fails(Protocol):
    """A backend that fails so many times more."""

    fails: int


async def ask_twice(stream: Stream, backend: Fails) -> None:
    """For two pictures of two batches: the second is asked for when the first has failed."""
    for frame in range(2):
        await _ask_once(stream, backend, frame, max(0, backend.fails - 1))


async def _ask_once(stream: Stream, backend: Fails, frame: int, left: int) -> None:
    ask(stream, range(frame, frame + 1))
    await until(lambda: backend.fails <= left)
