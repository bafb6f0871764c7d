"""Every session's faces from one device: streams in, one thread, pictures out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable

from engine.audio.speech import Speech
from engine.backends.backend import Backend
from engine.core.cores import usable_cores
from engine.core.engine_errors import EngineFault, PoolFull
from engine.core.persona import Persona
from engine.core.types import FPS, SAMPLE_RATE, EngineStats, Rendered
from engine.engine_config import EngineConfig
from engine.serving.choice import load_backend
from engine.serving.device_thread import DeviceThread
from engine.serving.frame_renderer import Deliver, FrameRenderer
from engine.serving.restarts import RESTARTING
from engine.serving.stream import Stream
from engine.serving.warmup import Measured

SESSION_CORES = 0.18
"""Of a core, what a session costs beside its pictures: encoding 512 x 512, Opus, network, and the
event loop. `voipavatar bench sessions` on two cores; docs/benchmarks.md."""

LATENCY_MARGIN_S = 0.01
"""Hand-over between threads, and a batch that may be running when an urgent job comes."""


class EnginePool:
    """Constructed idle; `start` loads the backend, then `open_stream` on the event loop.

    Capacity, if `config.max_streams` doesn't set it, is the smaller of what the device and what
    the processor can bear, each filled to `config.utilisation`: the measured pictures a second
    over 25; and cores over the cost of a session, which is SESSION_CORES and the processor time of
    25 pictures. Cores are those that affinity and a container's CPU limit leave to us. At least 1:
    a slow machine then drops pictures, but shows what it can.
    """

    def __init__(
        self,
        config: EngineConfig,
        backend: Backend | None = None,
        *,
        painter: Callable[[Deliver], FrameRenderer] | None = None,
    ) -> None:
        """`backend` or `painter` in the place of what `config` names."""
        self._config = config
        self._painter = (
            DeviceThread(backend or load_backend(config), config, self._hand_over)
            if painter is None
            else painter(self._hand_over)
        )
        self._streams: dict[int, Stream] = {}
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gone = EngineStats()  # what streams that left had counted
        self._running = False
        self.capacity = 0
        self.start_latency_s = 0.0

    def start(self) -> None:
        """Load and measure the backend. Blocks; raises BackendUnavailable."""
        measured = self._painter.start()
        self._running = True
        self.start_latency_s = 2 * measured.latency_s + LATENCY_MARGIN_S
        self.capacity = self._config.max_streams or self._bearable(measured)

    @property
    def backend_name(self) -> str:
        return self._painter.name

    @property
    def lookahead_s(self) -> float:
        """Sound after a frame's own that its picture needs; delays live speech by so much."""
        return self._painter.lookahead / SAMPLE_RATE

    @property
    def fault(self) -> str | None:
        """Why nothing is painted now; None while all is well."""
        return self._painter.fault

    @property
    def restarting(self) -> bool:
        """The fault is perhaps over soon: the backend that failed is being started again."""
        return self.fault is not None and self.fault.startswith(RESTARTING)

    @property
    def no_worker(self) -> None:
        """Sessions run in this process, so there always is one."""

    def beat_age_s(self) -> float:
        """Seconds since the device thread last showed that it lives."""
        return self._painter.beat_age_s()

    def stats(self) -> EngineStats:
        stats = self._painter.stats()
        for each in self._streams.values():
            stats.late += each.late
            stats.stale += each.stale
        stats.late += self._gone.late
        stats.stale += self._gone.stale
        return stats

    def admit(self, persona: Persona) -> None:
        """Get a persona ready for `open_stream`. Blocks, on any thread; long the first time.

        Raises PersonaError if the backend can't paint it.
        """
        self._painter.admit(persona)

    def open_stream(self, persona: Persona) -> Stream:
        """A place for one session; on the event loop that its pictures come back to.

        Quick for a persona that `admit` has seen.

        Raises:
            CapacityExhausted: every place is taken.
            PersonaError: the backend can't paint this persona.
            EngineFault: the backend has failed and does not run again yet.
        """
        if self.fault is not None:
            raise EngineFault(self.fault)
        if len(self._streams) >= self.capacity:
            raise PoolFull(
                f"All {self.capacity} places of the engine are taken; try again when one is free."
            )
        self.admit(persona)
        self._loop = asyncio.get_running_loop()
        number = next(self._numbers)
        speech = Speech(self._painter.left_context, self._painter.lookahead)
        stream = Stream(number, persona, speech, self._painter, self._config, self._left)
        self._streams[number] = stream
        self._painter.open(number, persona)
        return stream

    async def aclose(self) -> None:
        """End the device thread. Idempotent."""
        if self._running:
            self._running = False
            await asyncio.to_thread(self._painter.stop)

    def _bearable(self, measured: Measured) -> int:
        share = self._config.utilisation
        device = share * measured.fps / FPS
        cores = share * usable_cores(tick_s=1 / FPS) / (SESSION_CORES + FPS * measured.cpu_s)
        return max(1, int(min(device, cores)))

    def _left(self, number: int) -> None:
        stream = self._streams.pop(number)
        self._gone.late += stream.late
        self._gone.stale += stream.stale
        self._painter.close(number)

    def _hand_over(self, results: list[Rendered] | str) -> None:
        """On the device thread."""
        if self._loop is not None:
            # A loop that has just ended has nobody left who waits for pictures.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._arrived, results)

    def _arrived(self, results: list[Rendered] | str) -> None:
        if isinstance(results, str):
            for stream in list(self._streams.values()):
                stream.on_fault(results)
            return
        for result in results:
            owner = self._streams.get(result.stream)
            if owner is not None:
                owner.arrived(result)
