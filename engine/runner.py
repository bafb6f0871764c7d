"""The one thread that owns a device: take a batch, run it, paste the faces, hand them over."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.backends.base import Backend
from engine.compose import Composer
from engine.config import EngineConfig
from engine.errors import BackendUnavailable, EngineFault
from engine.scheduler import Batch, Scheduler
from engine.types import FACE_SIZE, FPS, EngineStats, Faces, FrameJob, Rendered
from engine.warmup import Measured, measure

log = logging.getLogger(__name__)

BEAT_S = 0.25  # the thread wakes at least so often, to show that it lives
RELAPSE_S = 10.0  # a backend that faults again so soon after its restart is given up

_NO_FACES: Faces = np.empty((0, FACE_SIZE, FACE_SIZE, 3), np.uint8)

Order = Callable[[], None]  # something for the device thread to do between two batches


class Runner:
    """Runs a backend in a thread of its own.

    Args:
        deliver: called on the device thread with the pictures of a batch, or with the sentence
            that says why there will be none any more.
    """

    def __init__(
        self,
        backend: Backend,
        config: EngineConfig,
        deliver: Callable[[list[Rendered] | str], None],
    ) -> None:
        self._backend = backend
        self._config = config
        self._deliver = deliver
        self._scheduler: Scheduler[FrameJob] = Scheduler(backend.rungs)
        self._composer = Composer(config.close_frames, round(config.run_ahead_s * FPS))
        self._orders: deque[Order] = deque()
        self._woken = threading.Condition()
        self._streams: set[int] = set()
        self._stalls: list[tuple[float, float]] = []  # heap of (moment, seconds)
        self._thread = threading.Thread(target=self._live, name="voipavatar-engine", daemon=True)
        self._started = threading.Event()
        self._refusal: Exception | None = None
        self._stopping = False
        self._restarted_at = -RELAPSE_S
        self._beat = time.monotonic()
        self._stats = EngineStats(backend=backend.name)
        self.measured: Measured | None = None
        self.fault: str | None = None

    def start(self) -> Measured:
        """Start the backend and measure it. Blocks; raises BackendUnavailable."""
        self._thread.start()
        self._started.wait()
        if self._refusal is not None or self.measured is None:
            self._thread.join()
            raise self._refusal or BackendUnavailable("The engine's thread ended at its start.")
        return self.measured

    def stop(self) -> None:
        """End the thread and give the backend's things back. Blocks."""
        self._order(self._end)
        self._thread.join()

    def beat_age_s(self) -> float:
        return time.monotonic() - self._beat

    def stats(self) -> EngineStats:
        return replace(self._stats, batch_sizes=dict(self._stats.batch_sizes))

    def open(self, stream: int) -> None:
        self._order(lambda: self._open(stream))

    def close(self, stream: int) -> None:
        self._order(lambda: self._close(stream))

    def submit(self, job: FrameJob) -> None:
        self._order(lambda: self._scheduler.add(job))

    def clear(self, stream: int, generation: int) -> None:
        """Forget the jobs of a stream that are older than a generation."""
        self._order(lambda: self._clear(stream, generation))

    def stall(self, moment: float, seconds: float) -> None:
        """Fault injection: do nothing for so long from that moment on."""
        self._order(lambda: heapq.heappush(self._stalls, (moment, seconds)))

    def _order(self, order: Order) -> None:
        with self._woken:
            self._orders.append(order)
            self._woken.notify()

    def _live(self) -> None:
        try:
            self._backend.start()
            self.measured = measure(self._backend, self._scheduler)
        except Exception as error:
            self._refusal = error
            self._backend.stop()
            return
        finally:
            self._beat = time.monotonic()
            self._started.set()
        while not self._stopping:
            self._turn()
        self._backend.stop()

    def _turn(self) -> None:
        self._beat = time.monotonic()
        self._wait()
        self._obey()
        self._stall_now()
        if self.fault is None and len(self._scheduler):
            batch = self._scheduler.take(time.monotonic())
            self._stats.late += len(batch.late)
            self._run(batch)

    def _wait(self) -> None:
        """Until there is something to do; never while work waits, since the device is idle."""
        if len(self._scheduler) and self.fault is None:
            return
        with self._woken:
            if not self._orders:
                self._woken.wait(BEAT_S)

    def _obey(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def _stall_now(self) -> None:
        while self._stalls and self._stalls[0][0] <= time.monotonic():
            time.sleep(heapq.heappop(self._stalls)[1])

    def _run(self, batch: Batch[FrameJob]) -> None:
        inferred = [job for job in batch.jobs if job.inferred]
        begun = time.monotonic()
        try:
            faces = iter(self._infer(inferred))
        except Exception as error:
            log.exception("the engine's backend failed")
            self._recover(error)
            return
        if inferred:
            self._count(len(inferred), time.monotonic() - begun)
        pictures = [
            self._composer.paint(job, next(faces) if job.inferred else None) for job in batch.jobs
        ]
        self._stats.busy_s += time.monotonic() - begun
        if pictures:
            self._deliver(pictures)

    def _infer(self, jobs: list[FrameJob]) -> Faces:
        if not jobs:
            return _NO_FACES
        faces = self._backend.run(jobs)
        # Faces are matched with jobs by their order: another number would show one's on another.
        if len(faces) != len(jobs):
            raise EngineFault(f"{len(faces)} faces were painted for {len(jobs)} jobs.")
        return faces

    def _count(self, size: int, seconds: float) -> None:
        self._scheduler.ran(size, seconds)
        self._stats.frames += size
        self._stats.batches += 1
        self._stats.batch_sizes[size] = self._stats.batch_sizes.get(size, 0) + 1

    def _recover(self, error: Exception) -> None:
        """Restart the backend; its batch is lost. Give up when that fails, or failed just now."""
        relapse = time.monotonic() - self._restarted_at < RELAPSE_S
        if not relapse:
            try:
                self._restart()
            except Exception as again:
                log.exception("the engine's backend did not restart")
                error = again
            else:
                return
        reason = str(error) if isinstance(error, EngineFault | BackendUnavailable) else repr(error)
        self.fault = f"The engine failed and a restart did not cure it: {reason}"
        self._deliver(self.fault)

    def _restart(self) -> None:
        self._stats.restarts += 1
        self._backend.stop()
        self._backend.start()
        for stream in sorted(self._streams):
            self._backend.open(stream)
        self._restarted_at = time.monotonic()

    def _open(self, stream: int) -> None:
        self._streams.add(stream)
        self._backend.open(stream)

    def _close(self, stream: int) -> None:
        self._streams.discard(stream)
        self._scheduler.drop(stream)
        self._composer.forget(stream)
        self._backend.close(stream)

    def _clear(self, stream: int, generation: int) -> None:
        self._stats.stale += self._scheduler.drop(stream, generation)

    def _end(self) -> None:
        self._stopping = True
