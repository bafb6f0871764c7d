"""Keeps a device in work: the next batch follows the last without a pause, and not earlier."""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import replace

from engine.backends.backend import Backend
from engine.core.types import EngineStats, FrameJob
from engine.serving.batches_in_flight import CollectedBatch, Device
from engine.serving.scheduler import Scheduler


class DeviceQueue:
    """Jobs in, collected batches out. Used by one thread, the device's own.

    Attributes:
        scheduler: knows the run times; made anew when the backend has started.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._device = Device(backend)
        self._stats = EngineStats(backend=backend.name)
        self.scheduler: Scheduler[FrameJob] = Scheduler(backend.rungs)

    def started(self) -> None:
        """The backend knows its batch sizes now."""
        self.scheduler = Scheduler(self._backend.rungs)

    @property
    def busy(self) -> bool:
        return not self._device.idle or len(self.scheduler) > 0

    def stats(self) -> EngineStats:
        return replace(self._stats, batch_sizes=dict(self._stats.batch_sizes))

    def feed(self, look: Callable[[], None], shunned: Set[int]) -> None:
        """Launch what waits. Raises what the backend raises.

        An idle device gets a batch at once. One that can have a second under way gets that as late
        as it can without standing still: a batch that is closed early is smaller, and what comes
        after it, however urgent, runs after it.

        Args:
            look: takes in what was asked for meanwhile.
            shunned: streams that nothing is painted for.
        """
        if self._device.idle:
            self._launch(shunned)
        if not self._device.idle and not self._device.full:
            self._device.wait()
            look()
            self._launch(shunned)

    def collect(self) -> CollectedBatch | None:
        """Wait for the oldest batch, if there is one. Raises what the backend raises."""
        if self._device.idle:
            return None
        collected = self._device.collect()
        stats, size = self._stats, len(collected.faces)
        if size:
            self.scheduler.ran(size, collected.seconds)
            stats.batches += 1
            stats.batch_sizes[size] = stats.batch_sizes.get(size, 0) + 1
        stats.frames += size
        stats.busy_s += collected.seconds
        stats.longest_s = max(stats.longest_s, collected.seconds)
        stats.invalid = self._backend.invalid
        return collected

    def clear(self, stream: int, generation: int) -> None:
        """Forget the jobs of a stream that are older than a generation."""
        self._stats.stale += self.scheduler.drop(stream, generation)

    def abandon(self) -> list[FrameJob]:
        """Forget what is under way, and what has just failed; the jobs of it."""
        return self._device.abandon()

    def restarted(self) -> None:
        self._stats.restarts += 1

    def _launch(self, shunned: Set[int]) -> None:
        batch = self.scheduler.take(time.monotonic(), self._device.next_begins)
        self._stats.late += len(batch.late)
        if shunned:
            batch.jobs[:] = [job for job in batch.jobs if job.stream not in shunned]
        if batch.jobs:
            inferred = sum(job.inferred for job in batch.jobs)
            self._device.launch(batch, self.scheduler.run_time(inferred))
