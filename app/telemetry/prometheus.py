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
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.telemetry.histograms import Observed

if TYPE_CHECKING:
    from app.protocols import Engine
    from app.session_types import State

HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

# What sessions observe (app/rtc/output/timing.py says what each one is), by name.
HISTOGRAMS = {
    "turn_start": "From the first sound of a turn coming in to it leaving with its picture",
    "interrupt": "From being asked to fall silent to nothing of the speech left to be sent",
    "join": "From the request to ready",
    "first_frame": "From the request to the first picture captured in the room",
    "picture_lateness": "Pictures captured later than they were due",
    "av_offset": "Pictures later than their own sound, as they leave",
    "picture_gap": "Between one captured picture and the next",
    "sound_gap": "Speech held up: nothing was there to be sent for so long",
}
COUNTED = {
    "pictures_repeated": "Ticks that showed the last picture again",
    "pictures_dropped": "Ticks that passed without a picture",
    "segments_started": "Segments of speech that began to be heard",
    "segments_finished": "Segments heard to their end",
    "segments_interrupted": "Segments cut off",
    "barge_ins": "Interruptions by a person who began to speak",
}


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
        self.observed = Observed()  # of all sessions, those that have ended too
        self.registry.register(_SessionsCollector(self.observed))

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


class _SessionsCollector(Collector):
    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterable[Metric]:
        for name, text in HISTOGRAMS.items():
            found = self._observed.histogram(name)
            yield HistogramMetricFamily(
                f"voipavatar_{name}_seconds",
                text,
                buckets=found.buckets(),
                sum_value=found.total,
            )
        for name, text in COUNTED.items():
            yield CounterMetricFamily(
                f"voipavatar_{name}", text, value=self._observed.counters[name]
            )


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
            "crowded_frames": (
                "Pictures lost since a process of sessions kept too many of them",
                stats.crowded,
            ),
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
