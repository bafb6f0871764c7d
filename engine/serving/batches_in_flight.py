"""The batches that are under way on a backend."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.backend import Backend
from engine.core.engine_errors import EngineFault
from engine.core.types import FACE_SIZE, Faces, FrameJob
from engine.picture.blend import Patch
from engine.serving.run_time_estimate import RunTimeEstimate
from engine.serving.scheduler import Batch

NO_FACES: Faces = np.empty((0, FACE_SIZE, FACE_SIZE, 3), np.uint8)

LAUNCH_S = 0.002  # what starting a batch takes the host, until it was measured
WAKE_S = 0.001  # a thread that sleeps wakes up to so much later
LOOK_S = 0.002
"""How often to check whether a batch is done sooner than expected. Without the check, a single
stall would make the next batches seem slow, and the device wait for work already done."""


@dataclass(frozen=True, slots=True)
class CollectedBatch:
    """A batch that is done."""

    jobs: list[FrameJob]  # inferred or not
    faces: Faces  # of the inferred ones, in their order
    patches: Sequence[Patch | None]  # of the same; see `BatchPipeline`
    seconds: float  # that the device had for it


@dataclass(frozen=True, slots=True)
class _UnderWay:
    jobs: list[FrameJob]
    handle: Any  # what the backend collects it by; None if nothing of it is inferred
    launched: float
    expected_s: float


class Device:
    """Launches batches and collects them in the same order. Used by one thread.

    A backend that can have two batches under way gets the second just before the first is done;
    another one is run when its batch is collected.
    """

    def __init__(self, backend: Backend) -> None:
        pipeline = backend.capabilities.pipeline
        self._depth = 1 if pipeline is None else pipeline.depth
        self._overlaps = self._depth > 1
        self._submit: Callable[[Sequence[FrameJob]], Any] = _as_is
        self._done: Callable[[Any], bool] = _always
        self._collect: Callable[[Any], Faces] = backend.run
        self._patches: Callable[[Any], Sequence[Patch | None]] = _none
        if pipeline is not None and self._overlaps:
            self._submit, self._done = pipeline.submit, pipeline.done
            self._collect, self._patches = pipeline.collect, pipeline.patches or _none
        self._under_way: deque[_UnderWay] = deque()
        self._failed: list[FrameJob] = []  # of batches that are being launched or collected
        self._free_since = 0.0
        self._seen_done: float | None = None  # when the oldest was found done
        self._launches = RunTimeEstimate(LAUNCH_S)

    @property
    def idle(self) -> bool:
        return not self._under_way

    @property
    def full(self) -> bool:
        """It takes no further batch before one has been collected."""
        return len(self._under_way) >= self._depth

    @property
    def free_at(self) -> float:
        """When all that is under way will be done, as far as is known."""
        if self._seen_done is not None and len(self._under_way) == 1:
            return self._seen_done
        moment = self._free_since
        for batch in self._under_way:
            moment = max(moment, batch.launched) + batch.expected_s
        return moment

    def wait(self) -> None:
        """Until it is time to launch the next batch, for the device to go from one to the other.

        With one batch under way.
        """
        oldest = self._under_way[0]
        until = self.free_at - self._launches.seconds - WAKE_S
        while (left := until - time.monotonic()) > 0:
            if oldest.handle is None or self._done(oldest.handle):
                self._seen_done = time.monotonic()
                return
            time.sleep(min(left, LOOK_S))

    @property
    def next_begins(self) -> float:
        """When a batch begins to run that is launched now."""
        return max(time.monotonic() + self._launches.seconds, self.free_at)

    def launch(self, batch: Batch[FrameJob], expected_s: float = 0.0) -> None:
        """Start a batch that is thought to run so long. Raises what the backend raises."""
        begun = time.monotonic()
        inferred = [job for job in batch.jobs if job.inferred]
        self._failed = batch.jobs
        handle = self._submit(inferred) if inferred else None
        self._failed = []
        launched = time.monotonic()
        if inferred:
            self._launches.add(launched - begun)
        self._under_way.append(_UnderWay(batch.jobs, handle, launched, expected_s))

    def collect(self) -> CollectedBatch:
        """Wait for the oldest batch. Raises what the backend raises, and EngineFault."""
        batch = self._under_way.popleft()
        overlapped = max(batch.launched, self._free_since)
        begun = overlapped if self._overlaps else time.monotonic()
        failed_before = self._failed
        self._failed = [*failed_before, *batch.jobs]
        faces, patches = NO_FACES, _none(batch)
        if batch.handle is not None:
            faces, patches = self._collect(batch.handle), self._patches(batch.handle)
        self._failed = failed_before
        self._free_since = self._seen_done or time.monotonic()
        self._seen_done = None
        # Faces are matched with jobs by their order: another number would mix up sessions.
        wanted = sum(job.inferred for job in batch.jobs)
        if len(faces) != wanted:
            raise EngineFault(f"{len(faces)} faces were painted for {wanted} jobs.")
        seconds = self._free_since - begun
        return CollectedBatch(batch.jobs, faces, patches or [None] * wanted, seconds)

    def abandon(self) -> list[FrameJob]:
        """Forget what is under way, and what has just failed; the jobs of it."""
        lost = [*self._failed, *(job for batch in self._under_way for job in batch.jobs)]
        self._under_way.clear()
        self._seen_done = None
        self._failed = []
        return lost


def _none(batch: Any) -> Sequence[Patch | None]:
    return ()


def _always(batch: Any) -> bool:
    return True


def _as_is(jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
    return jobs
