"""The one thread that owns a device: take a batch, run it, paste the faces, hand them over."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext

from engine.backends.backend import Backend
from engine.core.engine_errors import (
    BackendUnavailable,
    DeviceLost,
    PersonaError,
    as_unavailable,
    reason_of,
)
from engine.core.persona import Persona
from engine.core.priority import DEVICE, going_first
from engine.core.types import FPS, EngineStats, FrameJob
from engine.engine_config import EngineConfig
from engine.picture.compose import Composer
from engine.serving.batches_in_flight import CollectedBatch
from engine.serving.device_queue import DeviceQueue
from engine.serving.frame_renderer import Deliver
from engine.serving.restarts import RESTARTING, Restarts
from engine.serving.stalls import Stalls
from engine.serving.warmup import Measured, measure

log = logging.getLogger(__name__)

BEAT_S = 0.25  # the thread wakes at least so often, to show that it lives

Order = Callable[[], None]  # something for the device thread to do between two batches


class DeviceThread:
    """A `FrameRenderer` that runs a backend in a thread of its own; it delivers on that thread.

    A backend that fails is restarted, and streams live on. One that fails again soon, or does not
    restart, ends them: `deliver` gets the reason, and `fault` says it until a later attempt goes
    well. Streams that are opened after that are served.
    """

    def __init__(self, backend: Backend, config: EngineConfig, deliver: Deliver) -> None:
        self._backend = backend
        self._config = config
        self._deliver = deliver
        self._queue = DeviceQueue(backend)
        relax = backend.capabilities.relax
        self._composer = Composer(config.close_frames, round(config.run_ahead_s * FPS), relax)
        self._orders: deque[Order] = deque()
        self._woken = threading.Condition()
        self._streams: set[int] = set()
        self._stalls = Stalls()
        self._thread = threading.Thread(target=self._live, name="voipavatar-engine", daemon=True)
        self._started = threading.Event()
        self._refusal = BackendUnavailable("The engine has not been started.")
        self._stopping = False
        self._restarts = Restarts()
        self._shunned: set[int] = set()  # streams whose persona turned out to be damaged
        self._beat = time.monotonic()
        self._measured: Measured | None = None
        self.fault: str | None = None

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def left_context(self) -> int:
        return self._backend.left_context

    @property
    def lookahead(self) -> int:
        return self._backend.lookahead

    def start(self) -> Measured:
        """Start the backend and measure it. Blocks; raises BackendUnavailable."""
        self._thread.start()
        self._started.wait()
        if self._measured is None:
            self._thread.join()
            raise self._refusal
        return self._measured

    def stop(self) -> None:
        """End the thread and give the backend's things back. Blocks."""
        self._order(self._end)
        self._thread.join()

    def beat_age_s(self) -> float:
        return time.monotonic() - self._beat

    def stats(self) -> EngineStats:
        return self._queue.stats()

    def admit(self, persona: Persona) -> None:
        self._backend.admit(persona)

    def open(self, stream: int, persona: Persona) -> None:
        self._order(lambda: self._open(stream))

    def close(self, stream: int) -> None:
        self._order(lambda: self._close(stream))

    def submit(self, job: FrameJob) -> None:
        self._order(lambda: self._queue.scheduler.add(job))

    def clear(self, stream: int, generation: int) -> None:
        """Forget the jobs of a stream that are older than a generation."""
        self._order(lambda: self._queue.clear(stream, generation))

    def stall(self, stream: int, moment: float, seconds: float) -> None:
        """Fault injection: do nothing for so long from then on, if the stream lives."""
        self._order(lambda: self._stalls.order(stream, moment, seconds))

    def _order(self, order: Order) -> None:
        with self._woken:
            self._orders.append(order)
            self._woken.notify()

    def _live(self) -> None:
        try:
            self._backend.start()
            self._queue.started()
            models = self._config.models_dir
            self._measured = measure(self._backend, self._queue.scheduler, models)
        except Exception as error:
            self._refusal = as_unavailable(error, self._backend.name)
            self._backend.stop()
            return
        finally:
            self._beat = time.monotonic()
            self._started.set()
        with going_first(DEVICE) if self._config.realtime else nullcontext():
            while not self._stopping:
                try:
                    self._turn()
                except Exception:  # in what deals with faults: the thread must outlive that, too
                    log.exception("the engine's thread failed; it goes on")
                    time.sleep(BEAT_S)
        self._backend.stop()

    def _turn(self) -> None:
        self._beat = time.monotonic()
        self._wait()
        try:
            self._obey()
            self._stall_now()
            if self.fault is None:
                self._work()
            elif self._restarts.due:
                self._revive()
        except PersonaError as error:
            self._shun(error)
        except Exception as error:
            log.exception("the engine's backend failed")
            if self.fault is None:
                self._recover(error)

    def _work(self) -> None:
        """Launch a batch, collect the one before, and paste its faces while the other runs."""
        try:
            self._queue.feed(self._obey, self._shunned)
        finally:  # what was painted is good, whatever becomes of the next
            collected = self._queue.collect()
            if collected is not None:
                self._finish(collected)

    def _wait(self) -> None:
        """Until there is something to do; never while work waits, since the device is idle."""
        with self._woken:
            if not self._orders and (self.fault is not None or not self._queue.busy):
                self._woken.wait(BEAT_S)

    def _obey(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def _stall_now(self) -> None:
        while seconds := self._stalls.take(time.monotonic()):
            time.sleep(seconds)
            self._obey()  # a stream that closed meanwhile takes its stalls with it

    def _finish(self, collected: CollectedBatch) -> None:
        pictures, broken = self._composer.paint_all(
            collected.jobs, collected.faces, collected.patches
        )
        gone = {job.stream for job in collected.jobs} - self._streams  # closed meanwhile
        for stream in gone:
            self._composer.forget(stream)
        self._shunned |= broken - gone
        self._deliver(pictures)

    def _recover(self, error: Exception) -> None:
        """Restart the backend; batches under way are lost. Give up when it failed just before."""
        self._queue.abandon()
        if not self._restarts.relapsed and not isinstance(error, DeviceLost):
            self._restarts.first()
            self.fault = f"{RESTARTING} {reason_of(error)}"
            try:
                self._restart()
            except Exception as again:
                log.exception("the engine's backend did not restart")
                error = again
            else:
                self.fault = None
                return
        self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """End all streams; the backend is tried again later, unless only a new process can help."""
        lost = isinstance(error, DeviceLost)
        how = " for good" if lost else ", and a restart did not cure it"
        self.fault = f"The engine failed{how}: {reason_of(error)}"
        self._restarts.wait(for_good=lost)
        self._deliver(self.fault)

    def _revive(self) -> None:
        """Try a backend again that was given up."""
        down = self.fault
        self.fault = f"{RESTARTING} {down}"
        try:
            self._restart()
        except Exception as error:
            log.warning("the engine's backend is still down: %s", reason_of(error))
            self.fault = down
            self._restarts.wait(for_good=isinstance(error, DeviceLost))
            return
        log.warning("the engine's backend runs again")
        self.fault = None

    def _restart(self) -> None:
        self._backend.stop()
        self._backend.start()
        self._queue.restarted()
        for stream in sorted(self._streams):
            self._backend.open(stream)
        self._restarts.succeeded()

    def _shun(self, error: PersonaError) -> None:
        """Paint no more for the streams whose persona's data is damaged; others lose a batch."""
        log.error("a persona cannot be painted any more: %s", error)
        lost = [job for job in self._queue.abandon() if job.inferred]
        broken = {job.stream for job in lost if not self._admits(job)}
        if broken:
            self._shunned |= broken
        else:
            self._recover(error)

    def _admits(self, job: FrameJob) -> bool:
        try:
            self._backend.admit(job.persona)
        except PersonaError:
            return False
        return True

    def _open(self, stream: int) -> None:
        self._streams.add(stream)
        self._backend.open(stream)

    def _close(self, stream: int) -> None:
        self._streams.discard(stream)
        self._shunned.discard(stream)
        self._stalls.forget(stream)
        self._queue.scheduler.drop(stream)
        self._composer.forget(stream)
        self._backend.close(stream)

    def _end(self) -> None:
        self._stopping = True
