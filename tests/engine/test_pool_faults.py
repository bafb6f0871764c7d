"""Faults made on purpose: what a pool survives, and how it says that it did not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from engine.backends.backend import BatchPipeline, Capabilities
from engine.backends.warp import WarpBackend
from engine.core.engine_errors import BackendUnavailable, DeviceLost, EngineFault, PersonaError
from engine.core.persona import Persona
from engine.core.types import Faces, FrameJob, Rendered
from engine.engine_config import EngineConfig
from engine.picture.compose import Composer
from engine.serving.pool import EnginePool
from engine.serving.restarts import Restarts
from tests.engine.drawn import drawn_persona
from tests.engine.pools import PATIENCE, PERSONA, ask, ask_twice, running, shown, talk, until


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
        await ask_twice(streams[0], backend)
        await until(lambda: len(faults) == 2)
        assert reason in faults[0]
        assert pool.fault == faults[0]
        with pytest.raises(EngineFault, match="restart did not cure"):
            pool.open_stream(PERSONA)
        await asyncio.sleep(0.3)  # the thread beats on
        await until(lambda: pool.beat_age_s() < 0.2)
        streams[0].close()


async def test_a_backend_that_was_given_up_is_tried_again_and_serves_those_who_come_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.serving.restarts.FIRST_PAUSE_S", 0.05)
    backend = Failing(fails=2)
    async with running(backend) as pool:
        first = pool.open_stream(PERSONA)
        faults: list[str] = []
        first.on_fault = faults.append
        talk(first)
        await ask_twice(first, backend)
        await until(lambda: len(faults) == 1 and pool.fault is None)
        first.close()
        second = pool.open_stream(PERSONA)
        second.on_fault = faults.append
        talk(second)
        ask(second, range(1))
        await shown(second, 0)
        assert len(faults) == 1


async def test_pauses_grow_while_a_backend_does_not_start_and_it_says_that_it_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Away(Failing):
        def start(self) -> None:
            self.starts += 1
            if 1 < self.starts < 5:
                raise BackendUnavailable("The device is gone.", "Plug it in.")

    waits: list[float] = []
    wait = Restarts.wait

    def noted(self: Restarts, *, for_good: bool = False) -> None:
        waits.append(self._backoff._pause_s)
        wait(self, for_good=for_good)

    monkeypatch.setattr("engine.serving.restarts.FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("engine.serving.restarts.LONGEST_PAUSE_S", 0.04)
    monkeypatch.setattr(Restarts, "wait", noted)
    backend = Away(fails=1)
    async with running(backend) as pool:
        stream = pool.open_stream(PERSONA)
        faults: list[str] = []
        stream.on_fault = faults.append
        talk(stream)
        ask(stream, range(1))
        await until(lambda: backend.starts == 5 and pool.fault is None)
        assert "gone. Plug it in." in faults[0]
        assert len(faults) == 1
        assert waits == [0.02, 0.04, 0.04]


async def test_while_it_restarts_it_says_so() -> None:
    class Slow(Failing):
        def start(self) -> None:
            self.starts += 1
            if self.starts > 1:
                seen.append(pool.fault)

    seen: list[str | None] = []
    async with running(Slow(fails=1)) as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(1))
        await until(lambda: bool(seen) and pool.fault is None)
        assert seen == ["The engine is being restarted. The device coughed."]


async def test_a_persona_that_is_damaged_later_costs_only_its_own_stream_its_pictures() -> None:
    broken = drawn_persona(shade=1)

    class Picky(Failing):
        spoilt = False

        def admit(self, persona: Persona) -> None:
            if self.spoilt and persona is broken:
                raise PersonaError("The latents are gone.")

        def run(self, jobs: Sequence[FrameJob]) -> Faces:
            for job in jobs:
                self.admit(job.persona)
            return super().run(jobs)

    backend = Picky()
    async with running(backend) as pool:
        bad, good = pool.open_stream(broken), pool.open_stream(PERSONA)
        backend.spoilt = True
        for stream in (bad, good):
            talk(stream)
        ask(bad, range(3))
        ask(good, range(1, 10))
        await shown(good, 9)
        assert not any(bad.has(tick) for tick in range(3))
        assert (pool.stats().restarts, pool.fault) == (0, None)


async def test_a_lost_device_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Failing):
        def run(self, jobs: Sequence[FrameJob]) -> Faces:
            if jobs[0].due:
                raise DeviceLost("The device is lost to this process; start it again.")
            return super().run(jobs)

    monkeypatch.setattr("engine.serving.restarts.FIRST_PAUSE_S", 0.01)
    backend = Lost()
    async with running(backend) as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(1))
        await until(lambda: pool.fault is not None)
        await asyncio.sleep(0.3)
        assert pool.fault == (
            "The engine failed for good: The device is lost to this process; start it again."
        )
        assert backend.starts == 1


async def test_a_batch_that_was_painted_is_shown_though_the_next_fails() -> None:
    class Second(Failing):
        """Has two batches under way; the second is refused."""

        asked = threading.Event()

        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(BatchPipeline(2, self.submit, lambda _: True, self.collect))

        def submit(self, jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
            if jobs[0].due:
                self.asked.wait(PATIENCE)
            if jobs[0].tick == 1 and self.fails:
                self.fails -= 1
                raise EngineFault("The device coughed.")
            return jobs

        def collect(self, jobs: Sequence[FrameJob]) -> Faces:
            return WarpBackend.run(self, jobs)

    backend = Second(fails=1)
    backend.rungs = (1,)
    async with running(backend) as pool:
        stream = pool.open_stream(PERSONA)
        talk(stream)
        ask(stream, range(1))
        await asyncio.sleep(0.1)
        ask(stream, range(1, 2))
        backend.asked.set()
        await shown(stream, 0)
        await until(lambda: pool.stats().restarts == 1)


async def test_a_face_that_cannot_be_pasted_costs_its_own_stream_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = drawn_persona()
    paint = Composer.paint

    def spoilt(self: Composer, job: FrameJob, *rest: Any) -> Rendered:
        if job.persona is broken:
            raise ValueError("The mask does not fit.")
        return paint(self, job, *rest)

    monkeypatch.setattr(Composer, "paint", spoilt)
    async with running(Failing()) as pool:
        bad, good = pool.open_stream(broken), pool.open_stream(PERSONA)
        for stream in (bad, good):
            talk(stream)
            ask(stream, range(10))
        await shown(good, 9)
        assert not any(bad.has(tick) for tick in range(10))
        assert (pool.stats().restarts, pool.fault) == (0, None)


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
