"""The simulator: nothing is lost in it, and it holds what the table says it can."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli import app
from bench.engine.schedule_sim import Load, jobs_of, most_streams, replay

# Twice as fast in batches of eight as one by one: 200 pictures a second at most.
TABLE = {1: 0.010, 2: 0.016, 4: 0.024, 8: 0.040}
TALKING = Load(4, 10, pause_s=0)


@settings(max_examples=30)
@given(
    streams=st.integers(1, 12),
    pause=st.floats(0, 3),
    slowness=st.floats(0.2, 4),
    seed=st.integers(0, 99),
)
def test_every_job_is_painted_or_dropped_once(
    streams: int, pause: float, slowness: float, seed: int
) -> None:
    jobs = jobs_of(Load(streams, 4, pause_s=pause, seed=seed))
    table = {size: seconds * slowness for size, seconds in TABLE.items()}
    done = replay(jobs, table)
    assert done.frames + done.late == len(jobs)
    assert done.frames == len(done.slack_s) == sum(n * c for n, c in done.batch_sizes.items())
    assert done.missed == sum(slack < 0 for slack in done.slack_s)
    assert done.busy_s <= done.seconds + 1e-9
    assert max(done.batch_sizes, default=0) <= 8


def test_jobs_are_asked_for_in_order_and_deadlines_are_a_frame_apart() -> None:
    jobs = jobs_of(TALKING)
    assert [job.asked for job in jobs] == sorted(job.asked for job in jobs)
    dues = [job.due for job in jobs if job.stream == 2]
    assert len(dues) == 250
    assert all(abs(b - a - 0.04) < 1e-9 for a, b in itertools.pairwise(dues))


def test_a_load_is_the_same_each_time_and_another_with_another_seed() -> None:
    assert jobs_of(Load(3, 5)) == jobs_of(Load(3, 5))
    assert jobs_of(Load(3, 5)) != jobs_of(Load(3, 5, seed=1))


def test_pauses_cost_nothing() -> None:
    talking, pausing = replay(jobs_of(TALKING), TABLE), replay(jobs_of(Load(4, 10)), TABLE)
    assert pausing.frames < talking.frames
    assert pausing.busy_s < talking.busy_s


def test_what_the_table_allows_holds_and_more_does_not() -> None:
    assert replay(jobs_of(replace(TALKING, streams=7)), TABLE).holds
    too_much = replay(jobs_of(replace(TALKING, streams=10)), TABLE)
    assert not too_much.holds
    assert too_much.late + too_much.missed > 0


@pytest.mark.parametrize("run_ahead_s", [0.1, 0.32])
@pytest.mark.parametrize("streams", [9, 12, 24])
def test_more_than_the_device_can_do_leaves_it_doing_all_it_can(
    streams: int, run_ahead_s: float
) -> None:
    """Next to nothing is painted in vain, and each session loses its share."""
    jobs = jobs_of(Load(streams, 20, pause_s=0, run_ahead_s=run_ahead_s))
    done = replay(jobs, TABLE)
    assert done.missed <= 1
    assert done.worst(20) == pytest.approx(done.late / len(jobs), abs=0.02)
    assert done.frames / done.seconds == pytest.approx(200, rel=0.05)
    assert done.frames + done.late == len(jobs)


def test_more_work_makes_larger_batches() -> None:
    means = []
    for streams in (2, 8):
        sizes = replay(jobs_of(replace(TALKING, streams=streams)), TABLE).batch_sizes
        means.append(sum(n * count for n, count in sizes.items()) / sum(sizes.values()))
    assert means[0] < 2 < 4 < means[1]


def test_the_most_streams_is_the_last_that_holds() -> None:
    most = most_streams(TALKING, TABLE)
    assert 7 <= most <= 8  # 200 pictures a second, 25 a stream
    assert replay(jobs_of(replace(TALKING, streams=most)), TABLE).holds
    assert not replay(jobs_of(replace(TALKING, streams=most + 1)), TABLE).holds
    assert most_streams(TALKING, {1: 1.0}) == 0
    assert most_streams(TALKING, TABLE, allowed=0.6) > most


def test_the_command_replays_a_table_of_its_users(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"1": 0.010, "8": 0.040}))
    arguments = ["bench", "schedule", "--seconds", "5", "--run-times", str(table), "--no-pauses"]
    held = CliRunner().invoke(app, [*arguments, "--streams", "4"])
    assert held.exit_code == 0, held.output
    assert "500" in held.output  # pictures painted
    assert CliRunner().invoke(app, [*arguments, "--streams", "20"]).exit_code == 1
    most = CliRunner().invoke(app, [*arguments, "--most"])
    assert "sessions hold 25 fps" in most.output


@pytest.mark.parametrize("text", ["[]", '{"1": 0}', "{}", '{"a": 1}', "no"])
def test_a_broken_table_is_named(tmp_path: Path, text: str) -> None:
    table = tmp_path / "table.json"
    table.write_text(text)
    done = CliRunner().invoke(app, ["bench", "schedule", "--run-times", str(table)])
    assert done.exit_code == 1
    assert "is no table of run times" in done.output
