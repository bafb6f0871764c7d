"""Measurements and their limits, as a console table, Markdown and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bench.conformance.circumstances import Circumstances

MAKER = "voipavatar conformance"  # in what is written: the command may replace it next time
YES_NO = "faults"  # the unit of what either holds or does not

POINTS = {
    "1. Segment accounting": ("segments", "turn start"),
    "2. Interruption": ("interruption",),
    "3. Storm and lost trailers": ("storm", "trailers"),
    "4. A/V sync at a subscriber": ("sync",),
    "5. Rates, channels, and rooms that do not meet": ("rates", "rooms"),
    "6. Life cycle": ("life cycle",),
    "7. Plugins": ("plugins",),
    "8. What many sessions leave behind": ("soak",),
}
"""The suite's points, and the cases that belong to each."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    point: str  # one of POINTS' cases
    name: str
    value: float
    limit: float
    unit: str = ""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Within the limit; what could not be measured is not."""
        return not math.isnan(self.value) and self.value <= self.limit

    @property
    def shown(self) -> str:
        if math.isnan(self.value):
            return "not measured"
        if self.unit == YES_NO:
            return "yes" if self.ok else "no"
        return f"{self.value:.4g} {self.unit}".rstrip()

    @property
    def shown_limit(self) -> str:
        return "yes" if self.unit == YES_NO else f"{self.limit:g} {self.unit}".rstrip()


def failed(point: str, name: str, note: str) -> Check:
    return Check(point, name, math.nan, 0.0, YES_NO, note)


def must(point: str, name: str, held: bool, note: str = "") -> Check:
    """A yes or no: 0 faults allowed."""
    return Check(point, name, 0.0 if held else 1.0, 0.0, YES_NO, note)


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95)) if values else math.nan


def table(checks: Iterable[Check], left_out: Mapping[str, str]) -> str:
    """For a terminal; `left_out`: names of cases that were not measured, and why."""
    lines = [f"{'':4}  {'point':12}  {'what':54}  {'value':>12}  {'limit':>9}"]
    for check in checks:
        mark = "ok" if check.ok else "FAIL"
        note = f"  {check.note}" if check.note else ""
        values = f"{check.shown:>12}  {check.shown_limit:>9}"
        lines.append(f"{mark:4}  {check.point:12}  {check.name:54}  {values}{note}".rstrip())
    lines += [f"{'--':4}  {name}: left out; {why}" for name, why in left_out.items()]
    return "\n".join(lines)


def summary(checks: Sequence[Check], left_out: Mapping[str, str]) -> str:
    held = f"{sum(check.ok for check in checks)} of {len(checks)} hold"
    return f"{held}; left out: {', '.join(left_out)}." if left_out else f"{held}."


def markdown(around: Circumstances, checks: Sequence[Check], left_out: Mapping[str, str]) -> str:
    """The report for publication: worker, date, machine, and every point with its limits."""
    lines = [
        f"# Conformance of {around.worker}",
        "",
        f"**{summary(checks, left_out)}** An avatar worker for LiveKit Agents, measured from "
        "outside by the real `livekit-agents` and a subscriber in a process of its own.",
        "",
        "| | |",
        "| --- | --- |",
        f"| measured | {around.begun} |",
        f"| server | {around.server} |",
        *(f"| {name} | {number} |" for name, number in around.packages.items()),
        f"| suite | {around.suite} |",
        f"| machine of the suite | {around.machine} |",
        f"| load average before, after | {around.load_before:g}, {around.load_after:g} |",
    ]
    for title, cases in POINTS.items():
        found = [check for check in checks if check.point in cases]
        lines += ["", f"## {title}", "", *(_rows(found) if found else ["Not measured this time."])]
    listed = {case for cases in POINTS.values() for case in cases}
    if broken := [check for check in checks if check.point not in listed]:
        lines += ["", "## Cases that broke off", "", *_rows(broken)]
    if left_out:
        said = [f"- {_cell(name)}: {_cell(why)}." for name, why in left_out.items()]
        lines += ["", "## Left out", "", *said]
    lines += ["", f"<!-- {MAKER} -->"]
    return "\n".join(lines) + "\n"


def as_json(around: Circumstances, checks: Sequence[Check], left_out: Mapping[str, str]) -> str:
    body = {
        "made_by": MAKER,
        **asdict(around),
        "ok": all(check.ok for check in checks),
        "checks": [
            {**asdict(check), "value": _number(check.value), "ok": check.ok} for check in checks
        ],
        "left_out": dict(left_out),
    }
    return json.dumps(body, indent=2, allow_nan=False) + "\n"


def _rows(checks: Iterable[Check]) -> list[str]:
    rows = ["| | what | measured | limit | |", "| --- | --- | ---: | ---: | --- |"]
    for check in checks:
        mark = "holds" if check.ok else "**fails**"
        cells = (mark, check.name, check.shown, check.shown_limit, check.note)
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return rows


def _cell(text: str) -> str:
    """On one line, within one column."""
    return " ".join(text.replace("|", "/").split())


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None  # JSON has no word for the others
