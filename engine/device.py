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


@dataclass(frozen=True, slots=True)
class Landed:
    """A batch that is done."""

    jobs: list[FrameJob]  # inferred or not
    faces: Faces  # of the inferred ones, in their order
    patches: Sequence[Patch | None]  # of the same; see `Pasting`
    seconds: float  # that the device had for it


class Device:
    """Launches batches and lands them in the same order. Used by one thread.

    A backend that can have two batches under way gets the second while the first runs; another
    one is run when its batch is landed.
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
        self._under_way: deque[tuple[list[FrameJob], Any, float]] = deque()
        self._failed: list[FrameJob] = []  # of the batch that is being launched or landed
        self._free_since = 0.0

    @property
    def idle(self) -> bool:
        return not self._under_way

    @property
    def full(self) -> bool:
        """It takes no further batch before one has landed."""
        return len(self._under_way) >= self._depth

    def launch(self, batch: Batch[FrameJob]) -> None:
        """Start a batch. Raises what the backend raises."""
        inferred = [job for job in batch.jobs if job.inferred]
        self._failed = batch.jobs
        handle = self._submit(inferred) if inferred else None
        self._failed = []
        self._under_way.append((batch.jobs, handle, time.monotonic()))

    def land(self) -> Landed:
        """Wait for the oldest batch. Raises what the backend raises, and EngineFault."""
        jobs, handle, launched = self._under_way.popleft()
        begun = max(launched, self._free_since) if self._overlaps else time.monotonic()
        self._failed = jobs
        faces = NO_FACES if handle is None else self._collect(handle)
        patches = () if handle is None else self._patches(handle)
        self._failed = []
        self._free_since = time.monotonic()
        # Faces are matched with jobs by their order: another number would mix up sessions.
        wanted = sum(job.inferred for job in jobs)
        if len(faces) != wanted:
            raise EngineFault(f"{len(faces)} faces were painted for {wanted} jobs.")
        return Landed(jobs, faces, patches or [None] * wanted, self._free_since - begun)

    def abandon(self) -> list[FrameJob]:
        """Forget what is under way, and what has just failed; the jobs of it."""
        lost = [*self._failed, *(job for jobs, _, _ in self._under_way for job in jobs)]
        self._under_way.clear()
        self._failed = []
        return lost


def _none(batch: Any) -> Sequence[Patch | None]:
    return ()


def _as_is(jobs: Sequence[FrameJob]) -> Sequence[FrameJob]:
    return jobs
