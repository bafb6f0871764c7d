"""The service's event-loop lag and garbage collections, read from /metrics as it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

NAMES = {
    "voipavatar_event_loop_lag_seconds": "lag",
    "voipavatar_gc_pause_seconds": "pauses",
}

Counts = dict[float, float]  # upper edge in seconds -> how many were not over it


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles in milliseconds, each rounded up to the edge of its bucket; None: over them all."""

    count: int
    total_ms: float
    p50: float | None
    p99: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class ProcessPulse:
    lag: Spread
    pauses: Spread
    times: list[float] = field(default_factory=list)  # seconds, ends of the stretches below
    lag_p99: list[float | None] = field(default_factory=list)  # ms, in each stretch


@dataclass(frozen=True, slots=True)
class Scrape:
    at: float
    buckets: dict[tuple[str, str], Counts]  # (kind, process)
    totals: dict[tuple[str, str], float]  # seconds


def scrape(at: float, page: str) -> Scrape:
    """Parse one page of /metrics, fetched at `at`."""
    found = Scrape(at, {}, {})
    # Only the wanted lines: parsing all of them would add to the load that is measured.
    lines = [line for line in page.splitlines() if any(name in line for name in NAMES)]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            key = (NAMES[family.name], sample.labels.get("process", ""))
            if sample.name.endswith("_bucket"):
                edge = float(sample.labels["le"])
                found.buckets.setdefault(key, {})[edge] = sample.value
            elif sample.name.endswith("_sum"):
                found.totals[key] = sample.value
    return found


def pulses(scrapes: list[Scrape]) -> dict[str, ProcessPulse]:
    """Process -> what happened between the first and the last scrape."""
    if len(scrapes) < 2:
        return {}
    first, last = scrapes[0], scrapes[-1]
    found: dict[str, ProcessPulse] = {}
    for process in sorted({process for _, process in last.buckets}):
        lag, pauses = (_spread(first, last, (kind, process)) for kind in ("lag", "pauses"))
        over = [
            _spread(earlier, later, ("lag", process)).p99 for earlier, later in pairwise(scrapes)
        ]
        times = [round(later.at - first.at, 2) for later in scrapes[1:]]
        found[process] = ProcessPulse(lag, pauses, times, over)
    return found


def _spread(first: Scrape, last: Scrape, key: tuple[str, str]) -> Spread:
    before, after = first.buckets.get(key, {}), last.buckets.get(key, {})
    edges = sorted(after)
    below = np.array([after[edge] - before.get(edge, 0.0) for edge in edges])
    count = int(below[-1]) if len(below) else 0
    total = last.totals.get(key, 0.0) - first.totals.get(key, 0.0)

    def quantile(share: float) -> float | None:
        if not count:
            return 0.0
        at = edges[int(np.searchsorted(below, share * count))]
        return at * 1000 if np.isfinite(at) else None

    return Spread(count, total * 1000, quantile(0.5), quantile(0.99), quantile(1.0))
