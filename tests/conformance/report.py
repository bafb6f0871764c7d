"""What was measured, against its limit: a table to read, and the same as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    point: str  # of livekit.md §7
    name: str
    value: float
    limit: float
    unit: str = ""
    note: str = ""

    @property
    def ok(self) -> bool:
        """Within the limit; what could not be measured is not."""
        return not math.isnan(self.value) and self.value <= self.limit


def failed(point: str, name: str, note: str) -> Check:
    return Check(point, name, math.nan, 0.0, note=note)


def must(point: str, name: str, held: bool, note: str = "") -> Check:
    """A yes or no: 0 faults allowed."""
    return Check(point, name, 0.0 if held else 1.0, 0.0, "faults", note)


def p95(values: Sequence[float]) -> float:
    return float(np.percentile(values, 95)) if values else math.nan


def table(checks: Iterable[Check]) -> str:
    lines = [f"{'':4}  {'point':12}  {'what':46}  {'value':>9}  {'limit':>8}"]
    for check in checks:
        mark = "ok" if check.ok else "FAIL"
        values = f"{check.value:9.4g}  {check.limit:8.4g} {check.unit}"
        note = f"  {check.note}" if check.note else ""
        lines.append(f"{mark:4}  {check.point:12}  {check.name:46}  {values}{note}".rstrip())
    return "\n".join(lines)


def write_json(path: Path, target: str, checks: Sequence[Check]) -> None:
    body = {
        "target": target,
        "ok": all(check.ok for check in checks),
        "checks": [
            {**asdict(check), "value": _number(check.value), "ok": check.ok} for check in checks
        ],
    }
    path.write_text(json.dumps(body, indent=2, allow_nan=False) + "\n")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
