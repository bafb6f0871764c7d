"""Faults made on purpose: what a pool survives, and how it says that it did not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from engine.backends.warp import WarpBackend
from engine.config import EngineConfig
from engine.errors import BackendUnavailable, EngineFault
from engine.pool import EnginePool
from engine.types import Faces, FrameJob
from tests.engine.pools import PERSONA, ask, running, shown, talk, until


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
