"""What is counted of sessions for `/metrics`: plain numbers, taken where sessions run.

A session adds to its own `Observed`, a few additions a picture; whoever answers
`/metrics` takes what gathered since the last time as JSON (`drain`) and adds it up (`merge`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_START = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0)

# Upper edges in seconds; a value on an edge is below it, and one bucket follows the last.
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


@dataclass(slots=True)
class Tally:
    """A histogram: how many values fell into each bucket, and what they sum up to."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Observed:
    """Histograms by a name of EDGES, counters by any name."""

    histograms: dict[str, Tally] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)

    def observe(self, name: str, seconds: float) -> None:
        tally = self.tally(name)
        tally.counts[bisect_left(EDGES[name], seconds)] += 1
        tally.total += seconds

    def count(self, name: str, by: int = 1) -> None:
        self.counters[name] += by

    def tally(self, name: str) -> Tally:
        """The histogram of a name, empty where nothing was observed."""
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Tally([0] * (len(EDGES[name]) + 1))
        return found

    def drain(self) -> dict[str, Any]:
        """Everything since the last time, as JSON has it; nothing of it is told again."""
        taken = {
            "histograms": {
                name: {"counts": tally.counts, "total": tally.total}
                for name, tally in self.histograms.items()
            },
            "counters": dict(self.counters),
        }
        self.histograms, self.counters = {}, Counter()
        return taken

    def merge(self, drained: Mapping[str, Any]) -> None:
        """Add what another one gave out by `drain`; {} adds nothing."""
        for name, added in drained.get("histograms", {}).items():
            tally = self.tally(name)
            tally.counts = [a + b for a, b in zip(tally.counts, added["counts"], strict=True)]
            tally.total += added["total"]
        self.counters.update(drained.get("counters", {}))
