"""Measured values and their limits, as a table or as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Line:
    """One measured value; `passed` is None where it has no limit."""

    name: str
    value: str
    limit: str = ""
    passed: bool | None = None
    timed: bool = False  # a machine that does not keep time may be the reason for a miss


def at_most(name: str, value: float, limit: float, unit: str, digits: int = 0) -> Line:
    """A value that passes up to a limit; nan, which stands for unknown, does not pass."""
    return Line(
        name, _with_unit(value, unit, digits), f"≤ {limit:g} {unit}".rstrip(), value <= limit
    )


def at_least(name: str, value: float, limit: float, unit: str = "", digits: int = 2) -> Line:
    return Line(
        name, _with_unit(value, unit, digits), f"≥ {limit:g} {unit}".rstrip(), value >= limit
    )


def within(name: str, value: float, middle: float, margin: float, unit: str, digits: int) -> Line:
    """A value that passes within `middle` ± `margin`, rounded as shown."""
    passed = abs(round(value - middle, digits)) <= margin if math.isfinite(value) else False
    target = f"{middle:g} ± {margin:g}" if middle else f"± {margin:g}"
    return Line(name, _with_unit(value, unit, digits), f"{target} {unit}".rstrip(), passed)


def passed(lines: Iterable[Line]) -> bool:
    return all(line.passed is not False for line in lines)


def as_json(lines: Iterable[Line]) -> list[dict[str, Any]]:
    return [asdict(line) for line in lines]


def timed(lines: Iterable[Line]) -> list[Line]:
    """The same lines, marked as depending on a machine that keeps time."""
    return [replace(line, timed=True) for line in lines]


def failed(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.passed is False]


def table(title: str, lines: Iterable[Line], *, excused: bool = False) -> Table:
    """For a console: name, value, limit, verdict.

    Args:
        excused: the machine did not keep time; timed lines that missed are its fault.
    """
    shown = Table(title=title, title_justify="left", title_style="bold")
    shown.add_column("measured")
    shown.add_column("value", justify="right")
    shown.add_column("limit", justify="right")
    shown.add_column("")
    verdicts = {True: "[green]pass[/green]", False: "[bold red]FAIL[/bold red]", None: ""}
    for line in lines:
        verdict = verdicts[line.passed]
        if excused and line.timed and line.passed is False:
            verdict = "[yellow]machine[/yellow]"
        shown.add_row(line.name, line.value, line.limit, verdict)
    return shown


def _with_unit(value: float, unit: str, digits: int) -> str:
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "never"
    return f"{value:.{digits}f} {unit}".rstrip()
