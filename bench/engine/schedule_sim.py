"""Replays a load on a table of run times through the real scheduler, in virtual time.

Shows what a device would do with a number of talking sessions, without starting any.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from engine.core.types import FRAME_S
from engine.serving.scheduler import Batch, Scheduler

MOST = 1024  # streams that are looked for


@dataclass(frozen=True, slots=True)
class Load:
    """Sessions that speak and pause, each on a clock of its own."""

    streams: int
    seconds: float
    talk_s: float = 4.0  # mean length of a passage of speech
    pause_s: float = 2.0  # mean length of a pause, which costs no inference; 0: nobody pauses
    run_ahead_s: float = 0.32  # from the request of a job to its deadline
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """What the scheduler needs of a job, and when it is requested."""

    asked: float
    stream: int
    tick: int
    due: float
    generation: int = 0
    inferred: bool = True


@dataclass(slots=True)
class Replay:
    """What came of a load."""

    frames: int = 0  # painted
    late: int = 0  # dropped: their deadline had passed before they were run
    missed: int = 0  # painted, but after their deadline
    lost: Counter[int] = field(default_factory=Counter)  # late and missed ones by their stream
    busy_s: float = 0.0
    seconds: float = 0.0
    slack_s: list[float] = field(default_factory=list)  # deadline less end of the run, sorted
    batch_sizes: dict[int, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Every picture was there in time."""
        return not self.lost

    def worst(self, seconds: float) -> float:
        """Share of the due pictures that the worst session lost."""
        return max(self.lost.values(), default=0) * FRAME_S / seconds

    def slack(self, share: float) -> float:
        """The slack that at least this share of the pictures had, such as 0.99."""
        if not self.slack_s:
            return 0.0
        return self.slack_s[min(len(self.slack_s) - 1, int((1 - share) * len(self.slack_s)))]


def jobs_of(load: Load) -> list[SimulatedJob]:
    """Every job of a load, in the order of asking."""
    streams = (_stream(load, number) for number in range(load.streams))
    return list(heapq.merge(*streams, key=lambda job: job.asked))


def _stream(load: Load, number: int) -> Iterator[SimulatedJob]:
    random = Random(f"{load.seed} {number}")
    phase = random.uniform(0, FRAME_S)
    length = load.talk_s + load.pause_s
    talking = random.random() * length < load.talk_s
    left = 0.0
    for tick in range(int(load.seconds / FRAME_S)):
        if left <= 0 and load.pause_s > 0:
            talking = not talking
            left = random.expovariate(1 / (load.talk_s if talking else load.pause_s))
        left -= FRAME_S
        due = phase + tick * FRAME_S + load.run_ahead_s
        if talking or load.pause_s == 0:
            yield SimulatedJob(due - load.run_ahead_s, number, tick, due)


def replay(jobs: Iterable[SimulatedJob], table: Mapping[int, float]) -> Replay:
    """Run jobs on a device of which a batch takes what the table says, one after the other.

    Args:
        jobs: in the order of asking.
        table: seconds of a batch by its size; a batch takes the time of the next larger size.
    """
    scheduler: Scheduler[SimulatedJob] = Scheduler(sorted(table))
    for rung, seconds in table.items():
        scheduler.ran(rung, seconds)
    asked = deque(jobs)
    done = Replay()
    now = 0.0
    while asked or len(scheduler):
        if not len(scheduler):
            now = max(now, asked[0].asked)
        while asked and asked[0].asked <= now:
            scheduler.add(asked.popleft())
        batch = scheduler.take(now)
        done.late += len(batch.late)
        done.lost.update(job.stream for job in batch.late)
        if batch.jobs:
            begun, now = now, _run(done, batch, now, table)
            scheduler.ran(len(batch.jobs), now - begun)
    done.seconds = now
    done.slack_s.sort()
    return done


def _run(
    done: Replay, batch: Batch[SimulatedJob], begins: float, table: Mapping[int, float]
) -> float:
    """Count a batch; when it ends."""
    size = len(batch.jobs)
    seconds = table[min(rung for rung in table if rung >= size)]
    ends = begins + seconds
    done.frames += size
    missed = [job.stream for job in batch.jobs if job.due < ends]
    done.missed += len(missed)
    done.lost.update(missed)
    done.busy_s += seconds
    done.slack_s.extend(job.due - ends for job in batch.jobs)
    done.batch_sizes[size] = done.batch_sizes.get(size, 0) + 1
    return ends


def most_streams(load: Load, table: Mapping[int, float], allowed: float = 0.0) -> int:
    """The most streams of such a load of which none loses more, found by halving; 0 if one does.

    Args:
        allowed: share of its pictures that a stream may lose.
    """

    def holds(streams: int) -> bool:
        done = replay(jobs_of(dataclasses.replace(load, streams=streams)), table)
        return done.worst(load.seconds) <= allowed

    too_many = 1
    while too_many < MOST and holds(too_many):
        too_many *= 2
    if too_many == MOST and holds(MOST):
        return MOST
    most = too_many // 2
    while too_many - most > 1:
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if holds(middle) else (most, middle)
    return most
