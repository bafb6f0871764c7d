"""Who goes into the next batch: deadline order across streams, a ladder of batch sizes.

Pure: no clock, no thread, no numpy; moments come in as arguments (field.md §5.2).
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from engine.serving.run_time_estimate import RunTimeEstimate

HAND_OVER_S = 0.005  # from a batch's end to the session: pasting, and its event loop
OWED_S = 0.04
"""How much earlier a stream's jobs count as due if it has lost more than others: a picture's time.

Streams and batches may keep step, and the deadlines alone would then drop the same stream's jobs
each time, all of them.
"""


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
        late: no longer worth it: their deadline has passed, or will have by then.
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
        self._runs: dict[int, RunTimeEstimate] = {}  # by rung
        self._lost: Counter[int] = Counter()  # jobs dropped of a stream since all was done in time

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def add(self, job: W) -> None:
        self._queues.setdefault(job.stream, deque()).append(job)
        self._waiting += job.inferred

    def drop(self, stream: int, before: int | None = None) -> int:
        """Forget a stream's jobs of generations older than `before`, or all; how many."""
        queue = self._queues.pop(stream, deque())
        if before is None:
            del self._lost[stream]
        kept = deque(job for job in queue if before is not None and job.generation >= before)
        if kept:
            self._queues[stream] = kept
        self._waiting -= sum(job.inferred for job in queue) - sum(job.inferred for job in kept)
        return len(queue) - len(kept)

    def ran(self, size: int, seconds: float) -> None:
        """A batch of so many inferred jobs took so long."""
        self._runs.setdefault(self._rung_over(size), RunTimeEstimate()).add(seconds)

    def run_time(self, size: int) -> float:
        """Seconds that a batch of so many inferred jobs is expected to take; 0 while unknown."""
        runs = self._runs.get(self._rung_over(size)) if size else None
        return runs.seconds if runs else 0.0

    def take(self, now: float, begins: float | None = None) -> Batch[W]:
        """Close a batch: the most urgent jobs, as many as a rung holds.

        Jobs that cost nothing (a closing mouth) ride along in their stream's order. Where more
        waits than one batch, a job that would be done too late anyway is dropped: it would cost
        what the ones behind it need, and with it they would be late as well, and so on without
        end (docs/benchmarks.md, "More than the device can do").

        Args:
            begins: when the device gets to this batch, if not now.
        """
        batch: Batch[W] = Batch()
        self._drop_late(now, batch.late)
        room = self._room(now if begins is None else begins, batch.late)
        if self._waiting and room < self._cheapest():
            least = max(self._lost.values(), default=0)  # a small batch is for the urgent
        else:
            least = min((self._lost[stream] for stream in self._queues), default=0)
        heads = [(self._place(queue[0], least), stream) for stream, queue in self._queues.items()]
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
                heapq.heappush(heads, (self._place(queue[0], least), stream))
            else:
                del self._queues[stream]
        if self._waiting == 0:
            self._lost.clear()
        return batch

    def _drop_late(self, now: float, late: list[W]) -> None:
        for stream, queue in list(self._queues.items()):
            while queue and queue[0].due < now:
                job = queue.popleft()
                self._waiting -= job.inferred
                late.append(job)
                self._lost[stream] += job.inferred
            if not queue:
                del self._queues[stream]

    def _room(self, begins: float, hopeless: list[W]) -> int:
        """How many inferred jobs the next batch takes; those that hold up others are dropped."""
        doubted = False
        while self._waiting:
            room = self._cheapest()
            urgent = min(self._inferred_heads(), key=lambda job: job.due)
            ends_by = urgent.due - HAND_OVER_S
            if begins + self.run_time(room) <= ends_by:
                return room
            smaller = [r for r in self._rungs if r < room and begins + self.run_time(r) <= ends_by]
            if smaller and self._rest_can_wait(begins, smaller[-1]):
                return smaller[-1]
            if self._waiting == 1:
                return 1  # nobody waits behind it, and perhaps it makes it
            if not doubted:  # once a batch: running one of that size sets it right again
                self._doubt(room)
                doubted = True
            self._remove(urgent)
            self._lost[urgent.stream] += 1
            hopeless.append(urgent)
        return 0

    def _doubt(self, size: int) -> None:
        runs = self._runs.get(self._rung_over(size))
        if runs is not None:
            runs.decay()

    def _place(self, job: W, least: int) -> float:
        """What jobs are ordered by, if the streams that wait have lost so many at least."""
        return job.due - (OWED_S if self._lost[job.stream] > least else 0.0)

    def _cheapest(self) -> int:
        """The size of batch at which what waits costs least a job."""
        waiting = min(self._waiting, self._rungs[-1])
        full = max((rung for rung in self._rungs if rung <= waiting), default=waiting)
        # A rung that is not full costs as much as a full one: is the share of each job less?
        return waiting if self._share(waiting) <= self._share(full) else full

    def _inferred_heads(self) -> Iterator[W]:
        """The next job of each stream that costs inference."""
        for queue in self._queues.values():
            head = next((job for job in queue if job.inferred), None)
            if head is not None:
                yield head

    def _rest_can_wait(self, begins: float, size: int) -> bool:
        """Would all others be in time, in full batches, after a small one of the most urgent?"""
        queues = self._queues.values()
        dues = sorted(job.due for queue in queues for job in queue if job.inferred)[size:]
        ends, full = begins + self.run_time(size), self._rungs[-1]
        for first in range(0, len(dues), full):
            ends += self.run_time(min(full, len(dues) - first))
            if ends > dues[first] - HAND_OVER_S:
                return False
        return True

    def _remove(self, job: W) -> None:
        queue = self._queues[job.stream]
        del queue[next(place for place, each in enumerate(queue) if each is job)]
        self._waiting -= job.inferred
        if not queue:
            del self._queues[job.stream]

    def _share(self, size: int) -> float:
        return self.run_time(size) / size

    def _rung_over(self, size: int) -> int:
        return next((rung for rung in self._rungs if rung >= size), self._rungs[-1])
