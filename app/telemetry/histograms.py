"""Histograms and counters for `/metrics`: plain numbers that can cross a socket.

Each session adds to its own `Observed`, a few additions per picture. The process that serves
`/metrics` collects the increments as JSON (`drain`) and adds them up (`merge`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

_START = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0)

# Upper edges in seconds, by the name of what a session observes.
EDGES: Mapping[str, tuple[float, ...]] = {
    "turn_start": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0),
    "interrupt": (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0),
    "join": _START,
    "first_frame": _START,
    "picture_lateness": (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0),
    "av_offset": (0.001, 0.002, 0.005, 0.01, 0.02, 0.045, 0.08, 0.16, 0.32, 1.0),
    "picture_gap": (0.045, 0.06, 0.1, 0.2, 0.4, 1.0, 2.0, 5.0),
    "sound_gap": (0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 1.0),
}


class Histogram:
    """Durations by bucket, in seconds.

    A value on an edge counts below it; one more bucket follows the last edge.
    """

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.edges, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """For Prometheus: each upper edge, and how many values did not exceed it."""
        edges = [*map(str, self.edges), "+Inf"]
        return list(zip(edges, map(float, accumulate(self.counts)), strict=True))

    def body(self) -> dict[str, Any]:
        """As JSON; the receiver knows the edges."""
        return {"counts": self.counts, "total": self.total}

    def merge(self, body: Mapping[str, Any]) -> None:
        """Add the `body` of another histogram with the same edges."""
        self.counts = [a + b for a, b in zip(self.counts, body["counts"], strict=True)]
        self.total += body["total"]


@dataclass(slots=True)
class Observed:
    """Histograms named as in EDGES, counters by any name."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)

    def observe(self, name: str, seconds: float) -> None:
        self.histogram(name).add(seconds)

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] += by

    def histogram(self, name: str) -> Histogram:
        """The histogram of that name; empty if nothing was observed."""
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Histogram(EDGES[name])
        return found

    def drain(self) -> dict[str, Any]:
        """Everything since the last call, as JSON; it is handed out only once."""
        taken = {
            "histograms": {name: each.body() for name, each in self.histograms.items()},
            "counters": dict(self.counters),
        }
        self.histograms, self.counters = {}, Counter()
        return taken

    def merge(self, drained: Mapping[str, Any]) -> None:
        """Add what another `drain` returned; {} adds nothing."""
        for name, body in drained.get("histograms", {}).items():
            self.histogram(name).merge(body)
        self.counters.update(drained.get("counters", {}))
