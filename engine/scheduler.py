"""Who goes into the next batch: deadline order across streams, a ladder of batch sizes.

Pure: no clock, no thread, no numpy; moments come in as arguments (field.md §5.2).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

SMOOTHING = 0.1  # share of a new measurement in the mean run time of its rung


class Work(Protocol):
    """What the scheduler looks at in a job; `FrameJob` is one."""

    @property
    def stream(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def tick(self) -> int: ...
    @property
    def due(self) -> float: ...
    @property
    def inferred(self) -> bool: ...


W = TypeVar("W", bound=Work)


@dataclass(slots=True)
class Batch(Generic[W]):
    """Jobs that leave the queue together, each stream's in the order of their ticks.

    Attributes:
        jobs: to be run, at most a rung of them inferred.
        late: no longer worth it: their deadline has passed.
    """

    jobs: list[W] = field(default_factory=list)
    late: list[W] = field(default_factory=list)


class Scheduler(Generic[W]):
    """Earliest deadline first across streams; within a stream always the order of asking.

    Args:
        rungs: batch sizes that run well, ascending.
    """

    def __init__(self, rungs: Sequence[int]) -> None:
        self._rungs = tuple(rungs)
        self._queues: dict[int, deque[W]] = {}
        self._waiting = 0  # jobs that cost inference
        self._run_s: dict[int, float] = {}  # measured run time by rung

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def add(self, job: W) -> None:
        self._queues.setdefault(job.stream, deque()).append(job)
        self._waiting += job.inferred

    def drop(self, stream: int, before: int | None = None) -> int:
        """Forget a stream's jobs of generations older than `before`, or all; how many."""
        queue = self._queues.pop(stream, deque())
        kept = deque(job for job in queue if before is not None and job.generation >= before)
        if kept:
            self._queues[stream] = kept
        self._waiting -= sum(job.inferred for job in queue) - sum(job.inferred for job in kept)
        return len(queue) - len(kept)

    def ran(self, size: int, seconds: float) -> None:
        """A batch of so many inferred jobs took so long."""
        rung = self._rung_over(size)
        mean = self._run_s.get(rung, seconds)
        self._run_s[rung] = mean + SMOOTHING * (seconds - mean)

    def run_time(self, size: int) -> float:
        """Seconds that a batch of so many inferred jobs is expected to take; 0 while unknown."""
        return self._run_s.get(self._rung_over(size), 0.0) if size else 0.0

    def closes_at(self, now: float, *, idle: bool) -> float | None:
        """When the next batch leaves the queue; None while nothing waits.

        At once if the device is idle, a full batch waits, or only free work does; else when the
        earliest deadline less the run time comes. Never a fixed wait.
        """
        if not self._queues:
            return None
        if idle or self._waiting == 0 or self._waiting >= self._rungs[-1]:
            return now
        earliest = min(queue[0].due for queue in self._queues.values())
        return max(now, earliest - self.run_time(self._waiting))

    def take(self, now: float) -> Batch[W]:
        """Close a batch: the most urgent jobs, as many as a rung holds.

        Jobs that cost nothing (a closing mouth) ride along in their stream's order.
        """
        batch: Batch[W] = Batch()
        self._drop_late(now, batch.late)
        room = self._room(now)
        heads = [(queue[0].due, stream) for stream, queue in self._queues.items()]
        heapq.heapify(heads)
        while heads:
            _, stream = heapq.heappop(heads)
            queue = self._queues[stream]
            if queue[0].inferred and room == 0:
                continue
            job = queue.popleft()
            room -= job.inferred
            self._waiting -= job.inferred
            batch.jobs.append(job)
            if queue:
                heapq.heappush(heads, (queue[0].due, stream))
            else:
                del self._queues[stream]
        return batch

    def _drop_late(self, now: float, late: list[W]) -> None:
        for stream, queue in list(self._queues.items()):
            while queue and queue[0].due < now:
                job = queue.popleft()
                self._waiting -= job.inferred
                late.append(job)
            if not queue:
                del self._queues[stream]

    def _room(self, now: float) -> int:
        """How many inferred jobs the next batch takes."""
        waiting = min(self._waiting, self._rungs[-1])
        if waiting == 0:
            return 0
        full = max((rung for rung in self._rungs if rung <= waiting), default=waiting)
        # A rung that is not full costs as much as a full one: is the share of each job less?
        room = waiting if self._share(waiting) <= self._share(full) else full
        earliest = min(queue[0].due for queue in self._queues.values())
        meeting = [r for r in self._rungs if r <= room and now + self.run_time(r) <= earliest]
        if now + self.run_time(room) <= earliest or not meeting:
            return room
        return meeting[-1]

    def _share(self, size: int) -> float:
        return self.run_time(size) / size

    def _rung_over(self, size: int) -> int:
        return next((rung for rung in self._rungs if rung >= size), self._rungs[-1])
