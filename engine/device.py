"""The batches that are under way on a backend."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.backends.base import Backend, Pasting, Pipelined
from engine.blend import Patch
from engine.errors import EngineFault
from engine.scheduler import Batch
from engine.types import FACE_SIZE, Faces, FrameJob

NO_FACES: Faces = np.empty((0, FACE_SIZE, FACE_SIZE, 3), np.uint8)

LAUNCH_S = 0.002  # what starting a batch takes the host, until it was measured
SMOOTHING = 0.1  # share of a new measurement in its mean
WAKE_S = 0.001
"""A thread that sleeps wakes up to so much later. Also by how much a run time that is put too
high comes down each time, since a batch is then found done when the next has been launched."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A batch that is done."""

    jobs: list[FrameJob]  # inferred or not
    faces: Faces  # of the inferred ones, in their order
    patches: Sequence[Patch | None]  # of the same; see `Pasting`
    seconds: float  # that the device had for it


@dataclass(frozen=True, slots=True)
class _UnderWay:
    jobs: list[FrameJob]
    handle: Any  # what the backend collects it by; None if nothing of it is inferred
    launched: float
    expected_s: float


class Device:
    """Launches batches and lands them in the same order. Used by one thread.

    A backend that can have two batches under way gets the second just before the first is done;
    another one is run when its batch is landed.
    """

    def __init__(self, backend: Backend) -> None:
        pipelined = isinstance(backend, Pipelined)
        self._depth = 2 if pipelined else 1
        self._submit: Callable[[Sequence[FrameJob]], Any] = _as_is
        self._collect: Callable[[Any], Faces] = backend.run
        if isinstance(backend, Pipelined):
            self._submit, self._collect = backend.submit, backend.collect
        self._patches: Callable[[Any], Sequence[Patch | None]] = _none
        if isinstance(backend, Pasting):
            self._patches = backend.patches
        self._overlaps = pipelined
        self._under_way: deque[_UnderWay] = deque()
        self._failed: list[FrameJob] = []  # of batches that are being launched or landed
        self._free_since = 0.0
        self._launch_s = LAUNCH_S

    @property
    def idle(self) -> bool:
        return not self._under_way

    @property
    def full(self) -> bool:
        """It takes no further batch before one has landed."""
        return len(self._under_way) >= self._depth

    @property
    def free_at(self) -> float:
        """When all that is under way will be done, as far as is known."""
        moment = self._free_since
        for batch in self._under_way:
            moment = max(moment, batch.launched) + batch.expected_s
        return moment

    @property
    def next_launch(self) -> float:
        """When to begin with the next batch, so that the device goes from one to the other."""
        return self.free_at - self._launch_s - WAKE_S

    @property
    def next_begins(self) -> float:
        """When a batch begins to run that is launched now."""
        return max(time.monotonic() + self._launch_s, self.free_at)

    def launch(self, batch: Batch[FrameJob], expected_s: float = 0.0) -> None:
        """Start a batch that is thought to run so long. Raises what the backend raises."""
        begun = time.monotonic()
        inferred = [job for job in batch.jobs if job.inferred]
        self._failed = batch.jobs
        handle = self._submit(inferred) if inferred else None
        self._failed = []
        launched = time.monotonic()
        if inferred:
            self._launch_s += SMOOTHING * (launched - begun - self._launch_s)
        self._under_way.append(_UnderWay(batch.jobs, handle, launched, expected_s))

    def land(self) -> Landed:
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
        self._free_since = time.monotonic()
        # Faces are matched with jobs by their order: another number would mix up sessions.
        wanted = sum(job.inferred for job in batch.jobs)
        if len(faces) != wanted:
            raise EngineFault(f"{len(faces)} faces were painted for {wanted} jobs.")
        seconds = self._free_since - begun
        return Landed(batch.jobs, faces, patches or [None] * wanted, seconds)

    def abandon(self) -> list[FrameJob]:
        """Forget what is under way, and what has just failed; the jobs of it."""
        lost = [*self._failed, *(job for batch in self._under_way for job in batch.jobs)]
        self._under_way.clear()
        self._failed = []
        return lost


def _none(batch: Any) -> Sequence[Patch | None]:
    return ()


def _as_is(jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
    return jobs
