"""The load benchmark counts what it says; how much a machine bears is no test's business."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bench.engine.load import bench, table
from engine.backends.warp import WarpBackend
from engine.core.engine_errors import PoolFull
from engine.core.types import Faces, FrameJob
from engine.engine_config import EngineConfig
from tests.engine.drawn import drawn_persona
from tests.engine.pools import SILENCE, TALK, running

PERSONAS = [drawn_persona(shade=shade) for shade in (0, 60)]
SPEECH = np.concatenate([TALK, SILENCE])


async def test_every_picture_that_was_due_is_counted() -> None:
    async with running() as pool:
        report = await bench(pool, PERSONAS, SPEECH, streams=3, seconds=2.0)
        assert report.pictures == 3 * 50
        assert report.crossed == 0
        assert 0 < report.inferred < report.pictures
        assert report.slack_ms["least"] <= report.slack_ms["p50"] <= 360
        assert pool.stats().frames == report.inferred
        assert "3 streams for 2 s" in table(report)


async def test_silence_is_there_as_soon_as_it_is_asked_for() -> None:
    async with running() as pool:
        report = await bench(pool, PERSONAS, SILENCE, streams=2, seconds=1.0)
        assert (report.pictures, report.inferred) == (50, 0)
        # Nobody tells of it; seen only with the next face, it would seem to come when it is due.
        assert report.slack_ms["p50"] > 100


async def test_streams_come_and_go_meanwhile() -> None:
    async with running() as pool:
        report = await bench(pool, PERSONAS, SPEECH, streams=1, seconds=2.4, reopen=3)
        assert report.reopened == 3
        assert report.crossed == 0
        assert report.pictures > 60
        assert len(report.rss_mib) == 3
        assert pool.stats().frames == report.inferred
        pool.open_stream(PERSONAS[0]).close()
        lines = table(report).splitlines()
        assert [line[:6] for line in lines[-3:]] == ["pass  ", "pass  ", "not ju"]


async def test_a_picture_that_comes_after_its_time_is_missed() -> None:
    class Slow(WarpBackend):
        def run(self, jobs: Sequence[FrameJob]) -> Faces:
            if jobs[0].due:
                time.sleep(max(0.0, jobs[0].due - time.monotonic()))
            return super().run(jobs)

    async with running(Slow(EngineConfig())) as pool:
        report = await bench(pool, PERSONAS, TALK, streams=1, seconds=0.6)
        assert report.missed > 0
        assert not report.checks["every picture before its deadline"]


async def test_pictures_that_nobody_paints_are_missed() -> None:
    class Blocked(WarpBackend):
        def run(self, jobs: Sequence[FrameJob]) -> Faces:
            if jobs[0].due:
                raise RuntimeError("no faces today")
            return super().run(jobs)

    async with running(Blocked(EngineConfig())) as pool:
        report = await bench(pool, PERSONAS, TALK, streams=1, seconds=0.4)
        assert report.missed == report.pictures == 10


async def test_more_streams_than_places_are_refused() -> None:
    async with running(config=EngineConfig(max_streams=1)) as pool:
        with pytest.raises(PoolFull):
            await bench(pool, PERSONAS, TALK, streams=2, seconds=0.4)


async def test_memory_is_judged_where_the_run_is_long_enough() -> None:
    async with running() as pool:
        report = await bench(pool, PERSONAS, SILENCE, streams=1, seconds=0.2)
        grown = replace(report, rss_mib=(100.0, 120.0, 200.0))
        assert all(grown.checks.values())
        long = replace(grown, seconds=60.0)
        assert [what for what, held in long.checks.items() if not held] == [
            "process memory flat within 32 MiB"
        ]
        assert "FAIL  process memory" in table(long)
