"""The line of batches before a device: none too early, none too late, none lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.backends.backend import BatchPipeline, Capabilities
from engine.backends.warp import WarpBackend
from engine.core.engine_errors import EngineFault
from engine.core.types import Faces, FrameJob
from engine.engine_config import EngineConfig
from engine.serving.device_queue import DeviceQueue
from tests.engine.drawn import drawn_persona

ONE = drawn_persona()
RUN_S = 0.05
FAR = time.monotonic() + 3600


class Timed(WarpBackend):
    """Takes its time for a batch, and writes down what is asked of it."""

    depth = 2

    def __init__(self) -> None:
        super().__init__(EngineConfig())
        self.story: list[str] = []

    @property
    def capabilities(self) -> Capabilities:
        pipeline = BatchPipeline(self.depth, self.submit, self.done, self.collect)
        return replace(super().capabilities, pipeline=pipeline)

    def submit(self, jobs: Sequence[FrameJob]) -> Any:
        ticks = [job.tick for job in jobs]
        self.story.append(f"submit {ticks}")
        if -1 in ticks:
            raise EngineFault("The device coughed.")
        return list(jobs), time.monotonic() + RUN_S

    def done(self, batch: Any) -> bool:
        return time.monotonic() >= float(batch[1])

    def collect(self, batch: Any) -> Faces:
        jobs, ready = batch
        time.sleep(max(0.0, ready - time.monotonic()))
        self.story.append(f"collect {[job.tick for job in jobs]}")
        return np.zeros((len(jobs), 256, 256, 3), np.uint8)


def job(tick: int, *, due: float = FAR, stream: int = 0, talking: bool = True) -> FrameJob:
    audio = np.zeros(WarpBackend.left_context + 640 + WarpBackend.lookahead, np.int16)
    return FrameJob(stream, 0, tick, due, ONE, audio if talking else None)


def line_of(backend: WarpBackend) -> DeviceQueue:
    line = DeviceQueue(backend)
    for rung in backend.rungs:
        line.scheduler.ran(rung, RUN_S)
    return line


def nothing() -> None:
    pass


def test_the_next_batch_is_launched_before_the_last_is_done() -> None:
    backend = Timed()
    line = line_of(backend)
    line.scheduler.add(job(1))
    line.feed(lambda: line.scheduler.add(job(2)), set())
    collected = line.collect()
    assert collected is not None
    assert [each.tick for each in collected.jobs] == [1]
    line.feed(nothing, set())
    line.collect()
    assert backend.story == ["submit [1]", "submit [2]", "collect [1]", "collect [2]"]
    assert not line.busy
    assert line.collect() is None


def test_it_is_closed_no_earlier_than_the_device_needs_it() -> None:
    line = line_of(Timed())
    line.scheduler.add(job(1))
    begun = time.monotonic()
    looked: list[float] = []
    line.feed(lambda: looked.append(time.monotonic()), set())
    assert looked[0] - begun > RUN_S / 2


def test_a_batch_that_is_done_sooner_than_expected_is_not_waited_for() -> None:
    """The machine stood still during a batch, and its run time is put far too high."""
    line = line_of(Timed())
    for _ in range(9):
        line.scheduler.ran(1, 3600)
    for tick in range(6):
        line.scheduler.add(job(tick))
        line.feed(nothing, set())
        line.collect()
    assert line.scheduler.run_time(1) < 60


def test_a_batch_that_is_done_is_landed_though_the_next_is_refused() -> None:
    backend = Timed()
    line = line_of(backend)
    line.scheduler.add(job(1))
    with pytest.raises(EngineFault, match="coughed"):
        line.feed(lambda: line.scheduler.add(job(-1)), set())
    collected = line.collect()
    assert collected is not None
    assert [each.tick for each in collected.jobs] == [1]
    assert [each.tick for each in line.abandon()] == [-1]


def test_shunned_streams_cost_nothing() -> None:
    backend = Timed()
    line = line_of(backend)
    line.scheduler.add(job(1, stream=1))
    line.scheduler.add(job(2, stream=2))
    line.feed(nothing, {1})
    collected = line.collect()
    assert collected is not None
    assert [each.stream for each in collected.jobs] == [2]


def test_closing_mouths_need_no_device() -> None:
    backend = Timed()
    line = line_of(backend)
    line.scheduler.add(job(1, talking=False))
    line.feed(nothing, set())
    collected = line.collect()
    assert collected is not None
    assert (len(collected.jobs), len(collected.faces)) == (1, 0)
    assert backend.story == []


def test_what_is_dropped_landed_and_run_is_counted() -> None:
    line = line_of(Timed())
    for tick, due in enumerate((0.0, FAR, FAR)):
        line.scheduler.add(job(tick, due=due, stream=tick))
    line.feed(nothing, set())
    line.collect()
    line.scheduler.add(job(9))
    line.clear(0, 1)
    stats = line.stats()
    assert (stats.late, stats.frames, stats.batches, stats.stale) == (1, 2, 1, 1)
    assert stats.batch_sizes == {2: 1}
    assert stats.busy_s >= RUN_S / 2


def test_a_plain_backend_takes_in_all_that_came_before_it_runs() -> None:
    line = line_of(WarpBackend(EngineConfig()))
    for tick in range(3):
        line.scheduler.add(job(tick))
    line.feed(nothing, set())
    collected = line.collect()
    assert collected is not None
    assert [each.tick for each in collected.jobs] == [0, 1, 2]
