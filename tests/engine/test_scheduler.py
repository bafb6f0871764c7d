"""The scheduler under all loads that hypothesis thinks of."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.scheduler import HAND_OVER_S, Scheduler

RUNGS = (1, 2, 4, 8)

# No deadline: the machine that tests may be busy.
patiently = settings(max_examples=60)


@dataclass(frozen=True)
class Job:
    stream: int
    tick: int
    due: float
    generation: int = 0
    inferred: bool = True


@st.composite
def loads(draw: st.DrawFn) -> list[Job]:
    """Jobs of some streams in the order of asking; deadlines ascend within a stream."""
    ticks: dict[int, int] = defaultdict(int)
    jobs = []
    for stream in draw(st.lists(st.integers(0, 4), max_size=60)):
        ticks[stream] += 1
        offset = draw(st.floats(0, 0.039))
        due = 1 + 0.04 * ticks[stream] + offset
        jobs.append(Job(stream, ticks[stream], due, inferred=draw(st.booleans())))
    return jobs


def filled(jobs: list[Job]) -> Scheduler[Job]:
    scheduler: Scheduler[Job] = Scheduler(RUNGS)
    for job in jobs:
        scheduler.add(job)
    return scheduler


def drained(scheduler: Scheduler[Job], now: float = 0.0) -> list[list[Job]]:
    batches = []
    while len(scheduler):
        batches.append(scheduler.take(now).jobs)
        assert batches[-1], "a batch of nothing: the rest would starve"
    return batches


@patiently
@given(loads())
def test_nobody_starves_and_nothing_is_lost_or_doubled(jobs: list[Job]) -> None:
    taken = [job for batch in drained(filled(jobs)) for job in batch]
    assert sorted(taken, key=repr) == sorted(jobs, key=repr)


@patiently
@given(loads())
def test_a_stream_keeps_its_order(jobs: list[Job]) -> None:
    for stream in range(5):
        taken = [j.tick for batch in drained(filled(jobs)) for j in batch if j.stream == stream]
        assert taken == sorted(taken)


@patiently
@given(loads())
def test_no_batch_is_larger_than_the_last_rung(jobs: list[Job]) -> None:
    assert all(sum(j.inferred for j in batch) <= RUNGS[-1] for batch in drained(filled(jobs)))


@patiently
@given(loads())
def test_the_most_urgent_go_first(jobs: list[Job]) -> None:
    """Nobody left behind at the head of its stream is more urgent than an inferred job taken."""
    scheduler = filled(jobs)
    left = list(jobs)
    while len(scheduler):
        batch = scheduler.take(0.0).jobs
        left = [job for job in left if job not in batch]
        heads: dict[int, Job] = {}
        for job in left:
            heads.setdefault(job.stream, job)
        latest = max((job.due for job in batch if job.inferred), default=0.0)
        assert all(head.due >= latest or not head.inferred for head in heads.values())
        assert all(head.inferred for head in heads.values()), "free work was left behind"


def test_a_full_batch_takes_the_earliest_deadlines_of_all_streams() -> None:
    dues = [1.0 + 0.1 * place for place in (5, 11, 2, 9, 0, 7, 10, 3, 8, 1, 6, 4)]
    taken = filled(jobs_due(*dues)).take(0.0).jobs
    assert [job.due for job in taken] == sorted(dues)[:8]


@patiently
@given(loads(), st.integers(0, 4), st.integers(0, 60))
def test_dropping_a_generation_touches_no_other_job(
    jobs: list[Job], stream: int, boundary: int
) -> None:
    marked = [
        Job(j.stream, j.tick, j.due, generation=int(j.tick > boundary), inferred=j.inferred)
        for j in jobs
    ]
    gone = [job for job in marked if job.stream == stream and job.generation == 0]
    scheduler = filled(marked)
    assert scheduler.drop(stream, before=1) == len(gone)
    kept = [job for batch in drained(scheduler) for job in batch]
    assert sorted(kept, key=repr) == sorted((j for j in marked if j not in gone), key=repr)


@patiently
@given(loads(), st.floats(0.9, 3))
def test_what_is_overdue_is_told_and_not_run(jobs: list[Job], now: float) -> None:
    scheduler = filled(jobs)
    batch = scheduler.take(now)
    assert {job for job in jobs if job.due < now} <= set(batch.late)
    assert all(job.due < now + HAND_OVER_S for job in batch.late)
    assert all(job.due >= now for job in batch.jobs)


def jobs_due(*dues: float) -> list[Job]:
    return [Job(stream, 0, due) for stream, due in enumerate(dues)]


def timed(jobs: list[Job], *seconds: float) -> Scheduler[Job]:
    """The jobs, with so long a run for each rung."""
    scheduler = filled(jobs)
    for rung, each in zip(RUNGS, seconds, strict=True):
        scheduler.ran(rung, each)
    return scheduler


def test_a_batch_is_small_enough_for_its_most_urgent_job() -> None:
    scheduler = timed(jobs_due(0.1, *[9.0] * 7), 0.04, 0.06, 0.12, 0.2)
    assert len(scheduler.take(0.0).jobs) == 2


def test_a_batch_that_begins_later_is_smaller_still() -> None:
    scheduler = timed(jobs_due(0.1, *[9.0] * 7), 0.04, 0.06, 0.12, 0.2)
    assert len(scheduler.take(0.0, begins=0.05).jobs) == 1


def test_nobody_is_served_at_the_cost_of_all_others() -> None:
    """Alone the first would be in time, but then the seven behind it would not."""
    scheduler = timed(jobs_due(0.1, *[0.22] * 7), 0.04, 0.06, 0.12, 0.2)
    batch = scheduler.take(0.0)
    assert [job.stream for job in batch.late] == [0]
    assert len(batch.jobs) == 7


def test_what_cannot_be_in_time_any_more_is_dropped_and_does_not_shrink_the_batch() -> None:
    scheduler = timed(jobs_due(0.01, *[9.0] * 7), 0.04, 0.06, 0.12, 0.2)
    batch = scheduler.take(0.0)
    assert [job.due for job in batch.late] == [0.01]
    assert len(batch.jobs) == 7


def test_the_last_one_waiting_gets_its_chance() -> None:
    scheduler = timed(jobs_due(0.01), 0.04, 0.06, 0.12, 0.2)
    assert len(scheduler.take(0.0).jobs) == 1


def test_a_mouth_that_closes_is_not_dropped_for_what_it_does_not_cost() -> None:
    closing = Job(0, 0, 0.01, inferred=False)
    talking = [Job(0, 1, 0.02), *(Job(stream, 0, 9.0) for stream in range(1, 8))]
    batch = timed([closing, *talking], 0.04, 0.06, 0.12, 0.2).take(0.0)
    assert batch.late == [talking[0]]
    assert batch.jobs[0] is closing


@patiently
@given(loads(), st.floats(0.1, 4), st.floats(0, 2))
def test_what_is_dropped_is_told_whatever_a_run_takes(
    jobs: list[Job], slowness: float, now: float
) -> None:
    scheduler = timed(jobs, *(slowness * each for each in (0.04, 0.06, 0.12, 0.2)))
    told: list[Job] = []
    while len(scheduler):
        batch = scheduler.take(now)
        told += batch.jobs + batch.late
    assert sorted(told, key=repr) == sorted(jobs, key=repr)


@pytest.mark.parametrize(("eight_s", "taken"), [(0.10, 5), (0.50, 4)])
def test_a_rung_is_left_partly_empty_only_where_that_is_cheaper(eight_s: float, taken: int) -> None:
    scheduler = timed(jobs_due(*[9.0] * 5), 0.06, 0.07, 0.09, eight_s)
    assert len(scheduler.take(0.0).jobs) == taken


def test_the_run_time_follows_what_is_measured() -> None:
    scheduler: Scheduler[Job] = Scheduler(RUNGS)
    scheduler.ran(3, 0.1)
    assert scheduler.run_time(4) == pytest.approx(0.1)
    for _ in range(9):
        scheduler.ran(4, 0.2)
    assert scheduler.run_time(3) == pytest.approx(0.2)
    assert scheduler.run_time(0) == 0.0


def test_a_machine_that_stood_still_for_a_moment_is_no_slow_device() -> None:
    scheduler: Scheduler[Job] = Scheduler(RUNGS)
    for seconds in (0.1, 3.0, 0.11, 0.1, 3.0, 0.1):
        scheduler.ran(4, seconds)
        assert scheduler.run_time(4) == pytest.approx(0.1, rel=0.1)


def test_a_spell_of_slowness_is_forgotten_though_nothing_is_run_meanwhile() -> None:
    """Each rung is thought to take longer than anybody can wait: all but single jobs are dropped,
    and so no larger batch is ever measured again."""
    scheduler = timed([], *[0.4] * 4)
    sizes = []
    for tick in range(1000):
        now = 0.04 * tick
        for stream in range(8):
            scheduler.add(Job(stream, tick, now + 0.3))
        sizes.append(len(scheduler.take(now).jobs))
    assert sizes[0] == 1
    assert sizes[-1] == 8


def test_a_stream_that_lost_a_job_goes_first_next_time() -> None:
    """Nine streams of which eight can be served, all in step with the batches."""
    lost = []
    scheduler: Scheduler[Job] = Scheduler(RUNGS)
    for rung in RUNGS:
        scheduler.ran(rung, 0.035)
    for tick in range(20):
        now = 0.04 * tick
        for stream in range(9):
            scheduler.add(Job(stream, tick, now + 0.045 + stream * 0.001))
        batch = scheduler.take(now)
        assert len(batch.jobs) == 8
        lost += [job.stream for job in batch.late]
    assert len(lost) > 15
    assert all(count <= len(lost) / 2 + 1 for count in Counter(lost).values())
    assert len(set(lost)) == 9
