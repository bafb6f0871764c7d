"""What Prometheus reads at `/metrics`. A registry of its own for every app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from app.sessions.registry import Engine
    from app.sessions.spec import State

HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """Counters and histograms, by name of what they count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.sessions = Gauge(
            "voipavatar_sessions",
            "Live sessions in the database",
            ["state"],
            registry=self.registry,
        )
        self.tasks = Gauge("voipavatar_tasks", "Tasks of the event loop", registry=self.registry)
        self.created = Counter(
            "voipavatar_sessions_created", "Sessions started", registry=self.registry
        )
        self.ended = Counter(
            "voipavatar_sessions_ended",
            "Sessions that came to their end",
            ["state", "reason"],
            registry=self.registry,
        )
        self.http = Histogram(
            "voipavatar_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer",
            ["method", "route", "status"],
            buckets=HTTP_BUCKETS,
            registry=self.registry,
        )

    def watch(self, engine: Engine) -> None:
        """Read the engine's own counters at every scrape."""
        self.registry.register(_EngineCollector(engine))

    def page(self, live: Mapping[State, int]) -> bytes:
        """The text format; `live` is empty when the database did not say."""
        self.tasks.set(len(asyncio.all_tasks()))
        self.sessions.clear()
        for state, count in live.items():
            self.sessions.labels(state).set(count)
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        stats = self._engine.stats()
        counters = {
            "frames": ("Pictures inferred", stats.frames),
            "batches": ("Batches run", stats.batches),
            "late_frames": ("Pictures dropped since their deadline had passed", stats.late),
            "stale_frames": ("Pictures dropped since their speech was cleared", stats.stale),
            "invalid_faces": ("Faces with NaN or Inf, replaced", stats.invalid),
            "restarts": ("Restarts of the backend", stats.restarts),
            "busy_seconds": ("Time in which the device worked", stats.busy_s),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"voipavatar_engine_{name}", text, value=value)
        sizes = CounterMetricFamily(
            "voipavatar_engine_batches_by_size", "Batches run, by pictures in them", labels=["size"]
        )
        for size, count in sorted(stats.batch_sizes.items()):
            sizes.add_metric([str(size)], count)
        yield sizes
        yield GaugeMetricFamily(
            "voipavatar_engine_capacity", "Sessions it can bear", value=self._engine.capacity
        )
        yield GaugeMetricFamily(
            "voipavatar_engine_beat_age_seconds",
            "Since its thread last showed that it lives",
            value=self._engine.beat_age_s(),
        )
