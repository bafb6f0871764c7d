"""Plots for the documentation, as SVG files, from measurements kept as JSON.

`.venv/bin/python scripts/plots.py RESULT.json docs/plots/NAME` writes NAME-WHAT.svg for each plot:
gaps, memory and cores of the last run of `voipavatar bench sessions --json`; pictures a second by
batch size of `bench engine --json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.report.plots import Curve, Plot, Threshold, bars, curves

MOST_POINTS = 300  # of a curve; more cannot be seen


def main(result: Path, target: Path) -> None:
    body = json.loads(result.read_text("utf-8"))
    figures = _engine(body) if isinstance(body, list) else _sessions(body["runs"][-1])
    target.parent.mkdir(parents=True, exist_ok=True)
    for what, plot in figures:
        if plot is None:
            continue
        file = target.with_name(f"{target.name}-{what}.svg")
        file.write_text(plot.svg, "utf-8")
        print(file)


def _sessions(run: dict[str, Any]) -> Iterator[tuple[str, Plot | None]]:
    rooms, limits = run["rooms"], run["load"]["limits"]
    gaps = list(zip(*(room["gap_over"] for room in rooms), strict=False))
    if gaps:
        limit = Threshold(limits["gap"]["bound"], f"limit {limits['gap']['bound']:g} ms")
        worst = _curve("longest of any session", [max(each) for each in gaps], max)
        yield "gaps", curves("Longest gap in each second", [worst], unit="ms", threshold=limit)
    processes = run["costs"]["of"].items()
    memory = [_curve(name, cost["rss_over"], max, cost["times"]) for name, cost in processes]
    yield "memory", curves("Memory of each process (RSS)", memory, unit="MB")
    cores = [_curve(name, cost["cores_over"], _mean, cost["times"]) for name, cost in processes]
    yield "cores", curves("CPU of each process", cores, unit="cores")


def _engine(decoders: list[dict[str, Any]]) -> Iterator[tuple[str, Plot | None]]:
    for found in decoders:
        rows = [(str(row["batch"]), float(row["fps"]), True) for row in found["rows"]]
        title = f"{found['decoder']}, {found['device']}: pictures a second by batch size"
        yield found["decoder"], bars(title, rows, unit="fps")


def _curve(name: str, values: list[float], of: Any, times: list[float] | None = None) -> Curve:
    """A curve thinned to few points: `of` of equally many values each."""
    times = times or [float(second + 1) for second in range(len(values))]
    edges = [round(n * len(values) / MOST_POINTS) for n in range(MOST_POINTS + 1)]
    spans = [(a, b) for a, b in pairwise(sorted(set(edges))) if a < b]
    return Curve(name, [times[b - 1] for _, b in spans], [of(values[a:b]) for a, b in spans])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
