"""The pool at work: real threads, the real warp backend."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable

import numpy as np
import pytest

from engine.backends.warp import WarpBackend
from engine.core.engine_errors import PersonaError, PoolFull
from engine.core.persona import Persona
from engine.engine_config import EngineConfig, Stall
from engine.serving.pool import EnginePool
from tests.engine.drawn import drawn_persona
from tests.engine.pools import (
    PERSONA,
    SILENCE,
    SOON,
    STALLED,
    TALK,
    ask,
    past_a_stall_of,
    running,
    shown,
    talk,
    until,
)


async def test_speech_comes_back_as_a_talking_picture_of_its_tick() -> None:
    async with running() as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(5), tick=7)
        for tick in range(7, 12):
            picture = await shown(stream, tick)
            assert picture.shape == PERSONA.pictures[0].shape
            assert not np.array_equal(picture, stream.idle(tick))
        assert pool.stats().frames == 5


async def test_silence_costs_no_inference_and_shows_the_persona() -> None:
    async with running() as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream, SILENCE)
        ask(stream, range(20))
        for tick in range(20):
            np.testing.assert_array_equal(await shown(stream, tick), stream.idle(tick))
        assert pool.stats().frames == 0


async def test_the_mouth_closes_within_the_configured_frames_after_speech() -> None:
    async with running() as pool:
        stream = pool.open_stream(drawn_persona(frames=1))
        talk(stream, TALK[: 640 * 2])
        ask(stream, range(2))
        for tick in range(2, 13):
            stream.request_idle(tick, time.monotonic() + SOON)
        away = [
            int(np.abs((await shown(stream, t)).astype(int) - stream.idle(t).astype(int)).sum())
            for t in range(13)
        ]
        assert away[1:10] == sorted(away[1:10], reverse=True)
        assert away[9] > 0
        assert away[10:] == [0, 0, 0]
        assert pool.stats().frames == 2


async def test_two_sessions_get_their_own_faces() -> None:
    async with running() as pool:
        one, two = drawn_persona(shade=0), drawn_persona(shade=90)
        first, second = pool.open_stream(one), pool.open_stream(two)
        for stream in (first, second):
            talk(stream)
        for frame in range(20):
            for stream in (first, second):
                ask(stream, range(frame, frame + 1))
        for tick in range(20):
            # The top left corner is background, and never painted.
            assert (await shown(first, tick))[0] == one.pictures[0][0]
            assert (await shown(second, tick))[0] == two.pictures[0][0]


async def test_what_is_cleared_never_shows() -> None:
    async with running() as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(8))
        time.sleep(0.3)  # the device paints, but the loop has not seen it  # noqa: ASYNC251
        stream.clear()
        await until(lambda: pool.stats().stale == 8)
        assert pool.stats().stale == 8
        assert all(stream.picture(tick) is None for tick in range(8))


async def test_after_a_clear_frames_go_on_and_speech_is_new() -> None:
    async with running() as pool:
        stream = pool.open_stream(PERSONA)
        stream.push(TALK[: 640 * 3])
        stream.clear()
        assert stream.frames == stream.complete == 3
        talk(stream, TALK[: 640 * 2])
        assert stream.frames == 5
        ask(stream, range(3, 5))
        assert not np.array_equal(await shown(stream, 3), stream.idle(3))


async def test_a_late_picture_is_dropped_and_counted() -> None:
    async with running() as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        assert stream.picture(3) is None
        ask(stream, range(6))
        await shown(stream, 4)
        assert pool.stats().late == 4
        stream.request(6, 6, time.monotonic() - 1)
        await until(lambda: pool.stats().late == 5)


async def test_a_stall_stops_the_device_and_nothing_else() -> None:
    stalls = (Stall(at_s=0.0, duration_s=0.3),)
    async with running(config=EngineConfig(backend="warp", stalls=stalls)) as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        begun = time.monotonic()
        stream.started(begun)
        stream.request(0, 0, begun + 0.1)
        ask(stream, range(1, 2))
        await shown(stream, 1)
        assert time.monotonic() - begun >= 0.3
        assert pool.stats().late == 1


async def test_a_stall_does_not_outlive_its_stream() -> None:
    async with running(config=STALLED) as pool:
        await past_a_stall_of(pool.open_stream(PERSONA))
        later = pool.open_stream(PERSONA)
        talk(later)
        ask(later, range(1))
        await shown(later, 0)


async def test_places_run_out_and_come_back() -> None:
    async with running(config=EngineConfig(backend="warp", max_streams=2)) as pool:
        assert pool.capacity == 2
        first = pool.open_stream(PERSONA)
        pool.open_stream(PERSONA)
        with pytest.raises(PoolFull, match="All 2 places of the engine are taken"):
            pool.open_stream(PERSONA)
        first.close()
        first.close()
        pool.open_stream(PERSONA)


async def test_capacity_is_measured_and_at_least_one() -> None:
    async with running(config=EngineConfig(backend="warp")) as pool:
        assert pool.capacity >= 1
        assert pool.start_latency_s > 0
        assert pool.lookahead_s == 0.04
    async with running(config=EngineConfig(backend="warp", utilisation=1e-9)) as pool:
        assert pool.capacity == 1


async def test_closing_ends_the_thread_and_may_be_repeated() -> None:
    before = threading.active_count()
    pool = EnginePool(EngineConfig(backend="warp"))
    await pool.aclose()
    pool.start()
    pool.open_stream(PERSONA)
    closing: list[Awaitable[None]] = [pool.aclose(), pool.aclose()]
    await asyncio.gather(*closing)
    await until(lambda: threading.active_count() <= before + 1)  # asyncio keeps a helper thread


async def test_many_streams_come_and_go_without_a_trace() -> None:
    async with running() as pool:
        for _ in range(50):
            stream = pool.open_stream(PERSONA)
            talk(stream, TALK[:1280])
            ask(stream, range(2))
            stream.close()
        last = pool.open_stream(PERSONA)
        talk(last, TALK[:1280])
        ask(last, range(2))
        await shown(last, 1)
        assert pool.stats().frames <= 102


class Choosy(WarpBackend):
    """Knows its batch sizes only once it has started, and does not paint everybody."""

    def __init__(self) -> None:
        super().__init__(EngineConfig())
        self.rungs = (1, 2, 4, 8)

    def start(self) -> None:
        self.rungs = (1, 2)

    def admit(self, persona: Persona) -> None:
        if persona is not PERSONA:
            raise PersonaError("No latents of these weights. Make them.")


async def test_a_persona_that_cannot_be_painted_takes_no_place() -> None:
    async with running(Choosy(), EngineConfig(max_streams=1)) as pool:
        with pytest.raises(PersonaError, match="No latents"):
            pool.open_stream(drawn_persona(frames=2))
        pool.open_stream(PERSONA)


async def test_batches_are_of_the_sizes_that_the_started_backend_names() -> None:
    async with running(Choosy()) as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(20))
        await shown(stream, 19)
        assert max(pool.stats().batch_sizes) == 2
