"""Run times that are kept between two starts: when they hold, and when all is measured again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from engine.backends.backend import Capabilities
from engine.backends.warp import WarpBackend
from engine.core.types import Faces, FrameJob
from engine.engine_config import EngineConfig
from engine.serving import run_times, warmup
from engine.serving.run_times import RunTime
from engine.serving.scheduler import Scheduler

RUNGS = (1, 2, 4)


class Known(WarpBackend):
    """Warp that says what it is, and notes the batches that are measured."""

    def __init__(self, device: str = "a") -> None:
        super().__init__(EngineConfig())
        self.rungs = RUNGS
        self.device = device
        self.sizes: list[int] = []

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, identity=self.identity)

    def identity(self) -> dict[str, str]:
        return {"device": self.device}

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        self.sizes.append(len(jobs))
        return super().run(jobs)


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """How long a picture takes, whatever this machine does."""
    each = {"run": 0.010}

    def timed(backend: Any, jobs: list[FrameJob]) -> tuple[float, float]:
        backend.run(jobs)
        return each["run"] * len(jobs), 0.001

    monkeypatch.setattr(warmup, "_run", timed)
    return each


def start(models: Path | None, backend: WarpBackend) -> Scheduler[Any]:
    scheduler: Scheduler[Any] = Scheduler(RUNGS)
    warmup.measure(backend, scheduler, models)
    return scheduler


def measured(models: Path | None, backend: Known) -> set[int]:
    start(models, backend)
    return set(backend.sizes)


def test_the_second_start_runs_one_rung_only(tmp_path: Path) -> None:
    assert measured(tmp_path, Known()) == {1, 2, 4}
    again = Known()
    scheduler = start(tmp_path, again)
    assert set(again.sizes) == {4}
    assert [scheduler.run_time(size) for size in RUNGS] == [0.01, 0.02, 0.04]


@pytest.mark.parametrize(("factor", "sizes"), [(1.25, {4}), (0.75, {4}), (1.4, {1, 2, 4})])
def test_run_times_that_are_off_are_measured_again(
    tmp_path: Path, seconds: dict[str, float], factor: float, sizes: set[int]
) -> None:
    start(tmp_path, Known())
    seconds["run"] *= factor
    assert measured(tmp_path, Known()) == sizes
    assert measured(tmp_path, Known()) == {4}


def test_another_device_or_other_rungs_have_run_times_of_their_own(tmp_path: Path) -> None:
    start(tmp_path, Known())
    assert measured(tmp_path, Known("b")) == {1, 2, 4}
    fewer = Known()
    fewer.rungs = (1, 2)
    assert measured(tmp_path, fewer) == {1, 2}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"batches": {"1": {"run_s": -1}}}'])
def test_damaged_run_times_are_measured_anew(tmp_path: Path, content: str) -> None:
    start(tmp_path, Known())
    (path,) = (tmp_path / run_times.FOLDER).iterdir()
    path.write_text(content)
    assert measured(tmp_path, Known()) == {1, 2, 4}
    assert measured(tmp_path, Known()) == {4}


def test_what_does_not_say_what_it_is_is_measured_each_time(tmp_path: Path) -> None:
    start(tmp_path, WarpBackend(EngineConfig()))
    assert list(tmp_path.iterdir()) == []
    assert measured(tmp_path / "absent", Known()) == {1, 2, 4}


def test_the_file_says_what_it_is_of_and_feeds_the_simulator(tmp_path: Path) -> None:
    run_times.write(tmp_path, {"device": "x"}, {size: RunTime(0.002, 0.001) for size in RUNGS})
    (path,) = (tmp_path / run_times.FOLDER).iterdir()
    kept = json.loads(path.read_text())
    assert kept["of"] == {"device": "x"}
    assert kept["batches"]["4"] == asdict(RunTime(0.002, 0.001))
    run = ["bench", "schedule", "--streams", "2", "--seconds", "2", "--run-times", str(path)]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(app, [*run[:-1], str(Path(__file__))])
    assert refused.exit_code == 1
