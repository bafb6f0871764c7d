"""Batches under way: how many, in which order, and that none loses a face."""

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
from engine.picture.compose import Composer
from engine.serving.batches_in_flight import Device
from engine.serving.pool import EnginePool
from engine.serving.scheduler import Batch
from tests.engine.drawn import drawn_persona
from tests.engine.pools import PERSONA, ask, running, shown, talk, until

ONE = drawn_persona()


class Overlapping(WarpBackend):
    """Warp in two halves, with a buffer for each of the two batches that may be under way."""

    depth = 2

    def __init__(self) -> None:
        super().__init__(EngineConfig())
        self.under_way = 0
        self.most = 0

    @property
    def capabilities(self) -> Capabilities:
        pipeline = BatchPipeline(self.depth, self.submit, self.done, self.collect)
        return replace(super().capabilities, pipeline=pipeline)

    def submit(self, jobs: Sequence[FrameJob]) -> Any:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        time.sleep(0.002)
        return super().run(jobs).copy()

    def done(self, batch: Any) -> bool:
        return True

    def collect(self, batch: Any) -> Faces:
        self.under_way -= 1
        faces: Faces = batch
        return faces


class Losing(WarpBackend):
    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        return super().run(jobs)[1:]


def batch(*ticks: int, talking: bool = True) -> Batch[FrameJob]:
    audio = np.zeros(WarpBackend.left_context + 640 + WarpBackend.lookahead, np.int16)
    jobs = [FrameJob(0, 0, tick, 0.0, ONE, audio if talking else None) for tick in ticks]
    return Batch(jobs)


def test_a_plain_backend_has_one_batch_at_a_time() -> None:
    device = Device(WarpBackend(EngineConfig()))
    assert (device.idle, device.full) == (True, False)
    device.launch(batch(1, 2))
    assert (device.idle, device.full) == (False, True)
    collected = device.collect()
    assert [job.tick for job in collected.jobs] == [1, 2]
    assert len(collected.faces) == 2
    assert device.idle


def test_a_pipelined_backend_has_two_and_lands_them_in_order() -> None:
    device = Device(Overlapping())
    device.launch(batch(1))
    assert (device.idle, device.full) == (False, False)
    device.launch(batch(2, 3))
    assert device.full
    assert [[job.tick for job in device.collect().jobs] for _ in range(2)] == [[1], [2, 3]]


def test_a_backend_whose_batches_do_not_overlap_has_one_that_is_timed_as_it_runs() -> None:
    """As PyTorch on a processor, where starting a batch means running it."""
    backend = Overlapping()
    backend.depth = 1
    device = Device(backend)
    device.launch(batch(1))
    assert (device.full, backend.most) == (True, 0)
    assert device.collect().seconds > 0


def test_closing_mouths_need_no_backend() -> None:
    device = Device(Losing(EngineConfig()))
    device.launch(batch(1, 2, talking=False))
    assert len(device.collect().faces) == 0


def test_a_lost_face_is_a_fault() -> None:
    device = Device(Losing(EngineConfig()))
    device.launch(batch(1, 2))
    with pytest.raises(EngineFault, match="1 faces were painted for 2 jobs"):
        device.collect()
    assert device.idle


def test_abandoned_batches_do_not_land() -> None:
    device = Device(Overlapping())
    device.launch(batch(1))
    device.abandon()
    assert device.idle


async def test_a_pipelined_backend_paints_the_same_pictures() -> None:
    backend = Overlapping()
    async with running(backend) as pipelined, running() as plain:
        pictures = [await _talked(pool) for pool in (pipelined, plain)]
    for one, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(one, other)
    assert backend.under_way == 0


async def test_a_stream_that_closes_while_its_jobs_run_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    composers: list[Composer] = []

    def noted(*given: Any) -> Composer:
        composers.append(Composer(*given))
        return composers[-1]

    monkeypatch.setattr("engine.serving.device_thread.Composer", noted)
    backend = Overlapping()
    async with running(backend) as pool:
        for _ in range(20):
            stream = pool.open_stream(PERSONA)
            talk(stream)
            ask(stream, range(20))
            await until(lambda: backend.under_way > 0)
            stream.close()
        last = pool.open_stream(PERSONA)
        talk(last)
        ask(last, range(1))
        await shown(last, 0)
        assert composers[0].streams <= {20}


async def _talked(pool: EnginePool) -> list[Any]:
    stream = pool.open_stream(PERSONA)
    talk(stream)
    ask(stream, range(20))
    return [await shown(stream, tick) for tick in range(20)]
