"""How late a process's event loop wakes, and how long garbage collections stop it.

Costs a timer ten times a second and a call at each end of a collection. The counts can be sent to
another process as plain numbers, so one `/metrics` page covers all processes.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.telemetry.histograms import Histogram

BEAT_S = 0.1
BOUNDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4)
"""Upper edges of the buckets, in seconds."""


class LoopLag:
    """What one process measured since it began."""

    __slots__ = ("lag", "pauses")

    def __init__(self) -> None:
        self.lag = Histogram(BOUNDS)  # how late the event loop woke
        self.pauses = Histogram(BOUNDS)  # garbage collections, which stop everything else

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> LoopLag:
        """From the `body` that another process sent."""
        found = cls()
        found.lag.merge(body["lag"])
        found.pauses.merge(body["pauses"])
        return found

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {"lag": self.lag.body(), "pauses": self.pauses.body()}


@contextmanager
def watch_loop_lag() -> Iterator[LoopLag]:
    """Measure the running loop and its process until the context is left."""
    found = LoopLag()
    loop = asyncio.get_running_loop()
    began = 0.0
    timer: asyncio.TimerHandle | None = None

    def collection(phase: str, _: Mapping[str, int]) -> None:
        nonlocal began
        now = time.perf_counter()
        if phase == "start":
            began = now
        else:
            found.pauses.add(now - began)

    def beat(due: float) -> None:
        now = loop.time()
        found.lag.add(max(0.0, now - due))
        wait(now)

    def wait(now: float) -> None:
        nonlocal timer
        timer = loop.call_at(now + BEAT_S, beat, now + BEAT_S)

    wait(loop.time())
    gc.callbacks.append(collection)
    try:
        yield found
    finally:
        gc.callbacks.remove(collection)
        if timer is not None:
            timer.cancel()


class LoopLagCollector(Collector):
    """`voipavatar_event_loop_lag_seconds` and `voipavatar_gc_pause_seconds`, by process."""

    def __init__(self, pulses: Callable[[], Mapping[str, LoopLag]]) -> None:
        """`pulses`: what each process measured, by its name; called at every scrape."""
        self._pulses = pulses

    def collect(self) -> Iterable[Metric]:
        lag = HistogramMetricFamily(
            "voipavatar_event_loop_lag_seconds",
            "How much later than asked the event loop woke, ten times a second",
            labels=["process"],
        )
        pauses = HistogramMetricFamily(
            "voipavatar_gc_pause_seconds",
            "Collections of garbage, in which nothing else of the process runs",
            labels=["process"],
        )
        for process, found in self._pulses().items():
            lag.add_metric([process], found.lag.buckets(), found.lag.total)
            pauses.add_metric([process], found.pauses.buckets(), found.pauses.total)
        yield lag
        yield pauses
