"""The limits that a session must keep to count as held, and their text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One value that counts."""

    name: str
    bound: float
    unit: str
    text: str  # what is measured
    at_least: bool = False

    def kept(self, value: float | None) -> bool | None:
        """Whether the value keeps the limit: None if not measured; nan (unknown) does not."""
        if value is None:
            return None
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.text} {sign} {self.bound:g} {self.unit}".rstrip()


DEFAULTS = (
    # 25 a second less what a count over tens of seconds may be off by.
    Limit("fps", 24.8, "", "pictures a second received", at_least=True),
    Limit("gap", 100, "ms", "longest gap between two pictures"),
    Limit("turn", 250, "ms", "turn start p95"),
    Limit("interrupt", 120, "ms", "interrupt to silence p95"),
    Limit("av", 45, "ms", "size of the A/V offset p95"),
    Limit("late", 40, "ms", "lateness of pictures sent p99"),
    Limit("fresh", 1, "%", "pictures repeated or dropped"),
    Limit("growth", 20, "MB/h", "memory growth of the service's processes"),
)

Limits = Mapping[str, Limit]


def limits(changes: Iterable[str] = ()) -> Limits:
    """The usual limits, with changes such as `gap=120`. Raises ValueError."""
    found = {limit.name: limit for limit in DEFAULTS}
    for change in changes:
        name, _, number = change.partition("=")
        if name not in found:
            raise ValueError(f"{name} is no limit; there are {', '.join(found)}")
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not math.isfinite(bound) or bound < 0:
            raise ValueError(f"write a limit as {name}={found[name].bound:g}, not {change}")
        usual = found[name]
        found[name] = Limit(name, bound, usual.unit, usual.text, usual.at_least)
    return found


def missed(values: Mapping[str, float | None], bounds: Limits) -> list[str]:
    """Names of the limits that were missed; values not measured are left out."""
    return [name for name, limit in bounds.items() if limit.kept(values.get(name)) is False]
