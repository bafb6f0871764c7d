"""How free a process's event loop is, and how long collections of garbage stop it.

Costs a timer ten times a second and a call at either end of a collection. What is counted can be
sent to another process as plain numbers, so that one page tells of all.
"""

from __future__ import annotations

import asyncio
import gc
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

BEAT_S = 0.1
BOUNDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.4)
"""Upper edges of the buckets, seconds; a last one takes the rest."""


@dataclass(slots=True)
class Spread:
    """A histogram of durations: plain numbers, so that it can cross a socket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus wants them: upper edge and how many were not over it."""
        edges = [*map(str, BOUNDS), "+Inf"]
        summed = 0
        found: list[tuple[str, float]] = []
        for edge, count in zip(edges, self.counts, strict=True):
            summed += count
            found.append((edge, float(summed)))
        return found


@dataclass(slots=True)
class LoopLag:
    """Of one process, since its beginning."""

    lag: Spread = field(default_factory=Spread)  # how much later than asked the loop woke
    pauses: Spread = field(default_factory=Spread)  # collections, in which nothing else runs


@contextmanager
def watch_loop_lag() -> Iterator[LoopLag]:
    """Count for the running loop and its process, until left."""
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
        """`pulses`: name of each process -> what it counted; asked at every scrape."""
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
            lag.add_metric([process], found.lag.buckets(), found.lag.total_s)
            pauses.add_metric([process], found.pauses.buckets(), found.pauses.total_s)
        yield lag
        yield pauses
