"""Plots of measurements that were kept as JSON, as SVG files for the documentation.

`.venv/bin/python scripts/plots.py RESULT.json docs/plots/NAME` writes NAME-WHAT.svg for each thing
that the result tells of: of `voipavatar bench sessions --json` its last run, of `bench engine
--json` the pictures a second by batch size.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.report import svg

MOST_POINTS = 300  # of a curve: more cannot be seen
STYLE = (
    "svg{background:#fff;font:11px system-ui,sans-serif}text{fill:#66717f}"
    ".grid{stroke:#e3e7ec}line.bound{stroke:#b3293d;stroke-dasharray:5 4}"
    "text.bound{fill:#b3293d}.title{fill:#1c2430;font-weight:600}"
)


def main(result: Path, target: Path) -> None:
    body = json.loads(result.read_text("utf-8"))
    figures = _engine(body) if isinstance(body, list) else _sessions(body["runs"][-1])
    target.parent.mkdir(parents=True, exist_ok=True)
    for what, figure in figures:
        file = target.with_name(f"{target.name}-{what}.svg")
        file.write_text(_standing_alone(figure), "utf-8")
        print(file)


def _sessions(run: dict[str, Any]) -> Iterator[tuple[str, str]]:
    rooms, limits = run["rooms"], run["load"]["limits"]
    gaps = list(zip(*(room["gap_over"] for room in rooms), strict=False))
    if gaps:
        bound = svg.Bound(limits["gap"]["bound"], f"limit {limits['gap']['bound']:g} ms")
        worst = _line("longest of any session", [max(each) for each in gaps], max)
        yield "gaps", svg.lines("Longest gap in each second", [worst], unit="ms", bound=bound)
    processes = run["costs"]["of"].items()
    memory = [_line(name, cost["rss_over"], max, cost["times"]) for name, cost in processes]
    yield "memory", svg.lines("Memory of each process (RSS)", memory, unit="MB")
    cores = [_line(name, cost["cores_over"], _mean, cost["times"]) for name, cost in processes]
    yield "cores", svg.lines("CPU of each process", cores, unit="cores")


def _engine(decoders: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for found in decoders:
        rows = [(str(row["batch"]), float(row["fps"]), True) for row in found["rows"]]
        title = f"{found['decoder']}, {found['device']}: pictures a second by batch size"
        yield found["decoder"], svg.bars(title, rows, unit="fps")


def _line(name: str, values: list[float], of: Any, times: list[float] | None = None) -> svg.Line:
    """A curve of few points; each stands for as many values, by their `of`."""
    times = times or [float(second + 1) for second in range(len(values))]
    edges = [round(n * len(values) / MOST_POINTS) for n in range(MOST_POINTS + 1)]
    spans = [(a, b) for a, b in pairwise(sorted(set(edges))) if a < b]
    return svg.Line(name, [times[b - 1] for _, b in spans], [of(values[a:b]) for a, b in spans])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _standing_alone(figure: str) -> str:
    """The picture of a figure of a report, with what the page around it held."""
    picture = re.search(r"<svg.*</svg>", figure, re.DOTALL)
    title = re.search(r"<figcaption>(.*?)</figcaption>", figure)
    assert picture is not None
    assert title is not None
    keys = re.findall(r'<i style="background:(#\w+)"></i>(.*?)</span>', figure)
    height = svg.HEIGHT + 26 + (20 if keys else 0)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -24 {svg.WIDTH} {height}" '
        f'width="{svg.WIDTH}" height="{height}"><style>{STYLE}</style>'
        f'<rect x="0" y="-24" width="{svg.WIDTH}" height="{height}" fill="#fff"/>'
        f'<text class="title" x="{svg.LEFT}" y="-8">{title[1]}</text>'
    )
    named, at = "", svg.LEFT
    for colour, name in keys:
        y = svg.HEIGHT + 12
        named += f'<rect x="{at}" y="{y - 5}" width="14" height="3" fill="{colour}"/>'
        named += f'<text x="{at + 18}" y="{y}">{name}</text>'
        at += 40 + 6 * len(name)
    inner = re.sub(r"^<svg[^>]*>", "", picture[0])
    return head + inner.removesuffix("</svg>") + named + "</svg>\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
