"""Plots as inline SVG: few, plain, and readable on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 16, 34
COLOURS = ("#2f6fde", "#e08a1e", "#2a9d74", "#b8438f", "#7a5cd0", "#7d8794")


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; None is a hole in it."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Bound:
    """A level that is not to be passed."""

    value: float
    name: str


@dataclass(frozen=True, slots=True)
class _Frame:
    """From values to places."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (min(value, self.y1) - self.y0) / (self.y1 - self.y0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def lines(
    title: str,
    curves: Sequence[Line],
    *,
    unit: str,
    bound: Bound | None = None,
    least: float | None = 0.0,
) -> str:
    """Curves over seconds. `least`: where the y axis begins; None: a little under all values."""
    known = [y for curve in curves for y in curve.y if y is not None]
    known += [bound.value] if bound is not None else []
    if not known:
        return ""
    low = min(known) - 0.15 * (max(known) - min(known)) if least is None else least
    end = max((curve.x[-1] for curve in curves if len(curve.x)), default=1.0)
    frame = _Frame(0.0, max(end, 1e-6), low, _top(low, max(known)))
    parts = [_axes(frame, unit, "s")]
    for colour, curve in zip(_colours(len(curves)), curves, strict=True):
        parts.append(_curve(frame, curve, colour))
    if bound is not None:
        parts.append(_bound(frame, bound))
    names = [curve.name for curve in curves]
    return _figure(title, parts, names if len(names) > 1 else [])


def histogram(
    title: str, values: Sequence[float], *, unit: str, bound: Bound | None = None, bars: int = 24
) -> str:
    """How many of the values fall where."""
    if not values:
        return ""
    widest = max([*values, bound.value if bound is not None else 0.0])
    step = _nice(widest / bars)
    counts = [0] * (math.floor(widest / step) + 1)
    for value in values:
        counts[math.floor(max(0.0, value) / step)] += 1
    frame = _Frame(0.0, len(counts) * step, 0.0, _top(0.0, max(counts)))
    parts = [_axes(frame, "", unit)]
    for number, count in enumerate(counts):
        left, right = frame.x(number * step), frame.x((number + 1) * step)
        height = frame.y(0) - frame.y(count)
        parts.append(
            f'<rect x="{left + 1:.1f}" y="{frame.y(count):.1f}" width="{right - left - 2:.1f}" '
            f'height="{height:.1f}" fill="{COLOURS[0]}" rx="1.5"/>'
        )
    if bound is not None:
        at = frame.x(bound.value)
        parts.append(
            f'<line class="bound" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="bound" x="{at - 5:.1f}" y="{TOP + 9}" text-anchor="end">'
            f"{escape(bound.name)}</text>"
        )
    return _figure(title, parts, [])


def bars(
    title: str,
    values: Sequence[tuple[str, float, bool]],
    *,
    unit: str,
    bound: Bound | None = None,
) -> str:
    """A bar each: what it is, its value, and whether it is as it should be."""
    if not values:
        return ""
    highest = max([value for _, value, _ in values] + ([bound.value] if bound else []))
    frame = _Frame(0.0, float(len(values)), 0.0, _top(0.0, highest))
    parts = [_axes(frame, unit, "", numbers=False)]
    for number, (name, value, good) in enumerate(values):
        left, right = frame.x(number + 0.2), frame.x(number + 0.8)
        middle = (left + right) / 2
        parts.append(
            f'<rect x="{left:.1f}" y="{frame.y(value):.1f}" width="{right - left:.1f}" '
            f'height="{frame.y(0) - frame.y(value):.1f}" fill="{"#2a9d74" if good else "#d1495b"}" '
            f'rx="2"/><text x="{middle:.1f}" y="{frame.y(value) - 4:.1f}" text-anchor="middle">'
            f'{value:.4g}</text><text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 15}" '
            f'text-anchor="middle">{escape(name)}</text>'
        )
    if bound is not None:
        parts.append(_bound(frame, bound))
    return _figure(title, parts, [])


def _axes(frame: _Frame, unit: str, below: str, *, numbers: bool = True) -> str:
    parts: list[str] = []
    for value in _ticks(frame.y0, frame.y1):
        at = frame.y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    parts += [
        f'<text x="{frame.x(value):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
        f"{value:.4g}</text>"
        for value in (_ticks(frame.x0, frame.x1) if numbers else [])
    ]
    parts.append(
        f'<text class="unit" x="{LEFT - 6}" y="{TOP - 5}" text-anchor="end">{escape(unit)}</text>'
        f'<text class="unit" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">'
        f"{escape(below)}</text>"
    )
    return "".join(parts)


def _curve(frame: _Frame, curve: Line, colour: str) -> str:
    path, begun = [], False
    for x, y in zip(curve.x, curve.y, strict=True):
        if y is None:
            begun = False
            continue
        path.append(f"{'L' if begun else 'M'}{frame.x(x):.1f} {frame.y(y):.1f}")
        begun = True
    return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.8"/>'


def _bound(frame: _Frame, bound: Bound) -> str:
    at = frame.y(bound.value)
    return (
        f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text class="bound" x="{WIDTH - RIGHT}" y="{at - 4:.1f}" text-anchor="end">'
        f"{escape(bound.name)}</text>"
    )


def _figure(title: str, parts: Sequence[str], names: Sequence[str]) -> str:
    keys = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in zip(_colours(len(names)), names, strict=True)
    )
    label = escape(title)
    return (
        f"<figure><figcaption>{label}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'{"".join(parts)}</svg><div class="keys">{keys}</div></figure>'
    )


def _colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _top(low: float, high: float) -> float:
    return high + 0.12 * (high - low) if high > low else low + 1.0


def _ticks(low: float, high: float) -> list[float]:
    step = _nice((high - low) / 4.5)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _nice(step: float) -> float:
    """The next of 1, 2, 5, 10, … from this step on."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= step * 0.999)
