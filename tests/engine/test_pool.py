"""The pool at work: real threads, the real warp backend, faults made on purpose."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from engine.backends.base import Backend
from engine.backends.warp import WarpBackend
from engine.config import EngineConfig, Stall
from engine.errors import BackendUnavailable, CapacityExhausted, EngineFault
from engine.pool import EnginePool
from engine.stream import Stream
from engine.types import Faces, FrameJob, Pcm, Picture
from tests.engine.drawn import drawn_persona

SOON = 30.0  # seconds: a deadline that a busy test machine keeps
PATIENCE = 10.0
TALK = (8000 * np.sin(np.arange(640 * 20) * 0.3)).astype(np.int16)
SILENCE = np.zeros(640 * 20, np.int16)
PERSONA = drawn_persona()


class Failing(WarpBackend):
    """Warp that fails when it is told to."""

    def __init__(self, fails: int = 0, restarts: bool = True) -> None:
        super().__init__(EngineConfig())
        self.fails = fails
        self.restarts = restarts
        self.starts = 0
        self.opened: list[int] = []

    def start(self) -> None:
        self.starts += 1
        if self.starts > 1 and not self.restarts:
            raise BackendUnavailable("The device is gone.", "Plug it in.")

    def open(self, stream: int) -> None:
        self.opened.append(stream)

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        if self.fails and jobs[0].due:  # not while it is measured
            self.fails -= 1
            raise EngineFault("The device coughed.")
        return super().run(jobs)


class Miscounting(Failing):
    """Loses a face, so that all after it would reach the wrong stream."""

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        faces = super().run(jobs)
        return faces[1:] if jobs[0].due else faces


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
    await until(lambda: tick in stream._pictures)
    picture = stream.picture(tick)
    assert picture is not None
    return picture


def talk(stream: Stream, pcm: Pcm = TALK) -> None:
    stream.push(pcm)
    stream.end_segment()


def ask(stream: Stream, frames: range, tick: int = 0) -> None:
    for frame in frames:
        stream.request(frame, tick + frame, time.monotonic() + SOON)


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


async def test_places_run_out_and_come_back() -> None:
    async with running(config=EngineConfig(backend="warp", max_streams=2)) as pool:
        assert pool.capacity == 2
        first = pool.open_stream(PERSONA)
        pool.open_stream(PERSONA)
        with pytest.raises(CapacityExhausted, match="All 2 places of the engine are taken"):
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


async def test_a_failed_batch_restarts_the_backend_and_sessions_live_on() -> None:
    backend = Failing(fails=1)
    async with running(backend) as pool:
        stream = pool.open_stream(PERSONA)
        faults: list[str] = []
        stream.on_fault = faults.append
        talk(stream)
        ask(stream, range(1))
        await until(lambda: pool.stats().restarts == 1)
        ask(stream, range(1, 2))
        await shown(stream, 1)
        assert backend.opened[-1] == backend.opened[-2], "the stream was opened again"
        assert (faults, pool.fault) == ([], None)


@pytest.mark.parametrize(
    ("backend", "reason"),
    [(Failing(fails=2), "coughed"), (Failing(fails=1, restarts=False), "gone. Plug it in.")],
    ids=["fails-again", "does-not-restart"],
)
async def test_a_fault_that_stays_is_told_to_every_session(backend: Failing, reason: str) -> None:
    async with running(backend) as pool:
        streams = [pool.open_stream(PERSONA) for _ in range(2)]
        faults: list[str] = []
        for stream in streams:
            stream.on_fault = faults.append
            talk(stream)
        for frame in range(2):
            ask(streams[0], range(frame, frame + 1))
            await asyncio.sleep(0.05)
        await until(lambda: len(faults) == 2)
        assert reason in faults[0]
        assert pool.fault == faults[0]
        with pytest.raises(EngineFault, match="restart did not cure"):
            pool.open_stream(PERSONA)
        await asyncio.sleep(0.3)  # the thread beats on
        await until(lambda: pool.beat_age_s() < 0.2)
        streams[0].close()


async def test_faces_that_do_not_match_their_jobs_reach_nobody() -> None:
    async with running(Miscounting()) as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(2))
        await until(lambda: pool.stats().restarts >= 1)
        assert stream.picture(1) is None


def test_a_backend_that_does_not_start_says_why_and_leaves_no_thread() -> None:
    class Broken(Failing):
        def start(self) -> None:
            raise BackendUnavailable("No device.", "Buy one.")

    before = threading.active_count()
    with pytest.raises(BackendUnavailable, match=r"No device\. Buy one\."):
        EnginePool(EngineConfig(), Broken()).start()
    assert threading.active_count() == before


def test_a_backend_that_fails_while_it_is_measured_is_unavailable() -> None:
    class Weak(Failing):
        def run(self, jobs: Sequence[FrameJob]) -> Faces:
            raise EngineFault("Out of memory.")

    with pytest.raises(BackendUnavailable, match="warp engine does not run here: Out of memory"):
        EnginePool(EngineConfig(), Weak()).start()


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
