"""Plots as SVG, drawn by matplotlib: the same values always give the same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INCHES = (5.6, 2.6)
INK, MUTED, RULE = "#1c2430", "#66717f", "#e3e7ec"
HELD, MISSED, LIMIT = "#2a9d74", "#e07a86", "#b3293d"
COLOURS = ("#2f6fde", "#e08a1e", "#2a9d74", "#b8438f", "#7a5cd0", "#7d8794")
STYLE: Any = {  # matplotlib types the keys as literals
    "text.parse_math": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "voipavatar",  # else ids are random
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": MUTED,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
}
# Namespaces are addresses, and a page that has none shows that it fetches nothing.
NAMESPACES = re.compile(r' xmlns(:xlink)?="[^"]*"| version="1.1"')


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve; None is a hole in it."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit drawn across a plot."""

    value: float
    name: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A title and its picture, an SVG file."""

    title: str
    svg: str

    @property
    def inline(self) -> str:
        """The `<svg>` element for an HTML page, whose parser knows the namespaces."""
        element = self.svg[self.svg.index("<svg") :].strip()
        return NAMESPACES.sub("", element).replace("xlink:href", "href")


def curves(
    title: str,
    found: Sequence[Curve],
    *,
    unit: str,
    threshold: Threshold | None = None,
    least: float | None = 0.0,
) -> Plot | None:
    """Curves over seconds, or None without values.

    Args:
        least: where the y axis begins; None: a little below the smallest value.
    """
    known = [y for curve in found for y in curve.y if y is not None]
    if not known:
        return None
    with _axes(title) as axes:
        for number, curve in enumerate(found):
            values = [float("nan") if y is None else y for y in curve.y]
            colour = COLOURS[number % len(COLOURS)]
            dot = "." if len(values) < 3 else ""  # a line of one point is invisible
            axes.plot(curve.x, values, color=colour, label=curve.name, marker=dot)
        if threshold is not None:
            _across(axes, threshold)
            known.append(threshold.value)
        low = min(known) - 0.15 * (max(known) - min(known)) if least is None else least
        axes.set_ylim(low, _top(low, max(known)))
        axes.set_xlim(left=0.0)
        _label(axes, x="s", y=unit)
        if len(found) > 1:
            _key(axes, len(found))
        return Plot(title, _drawn(axes))


def histogram(
    title: str,
    values: Sequence[float],
    *,
    unit: str,
    threshold: Threshold | None = None,
    bins: int = 24,
) -> Plot | None:
    """How many of the values fall where, or None without values."""
    if not values:
        return None
    with _axes(title) as axes:
        widest = max([*values, 0.0 if threshold is None else threshold.value]) or 1.0
        axes.hist(
            [max(0.0, value) for value in values],
            bins=bins,
            range=(0.0, 1.04 * widest),
            color=COLOURS[0],
            rwidth=0.88,
        )
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if threshold is not None:
            axes.axvline(threshold.value, color=LIMIT, linestyle=(0, (5, 4)), linewidth=1.1)
            axes.annotate(
                threshold.name,
                (threshold.value, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(-4, 2),
                textcoords="offset points",
                ha="right",
                color=LIMIT,
            )
        _label(axes, x=unit, y="")
        return Plot(title, _drawn(axes))


def bars(
    title: str,
    values: Sequence[tuple[str, float, bool]],
    *,
    unit: str,
    threshold: Threshold | None = None,
) -> Plot | None:
    """A bar for each (name, value, passed), or None without values."""
    if not values:
        return None
    with _axes(title) as axes:
        places = range(len(values))
        heights = [value for _, value, _ in values]
        colours = [HELD if good else MISSED for _, _, good in values]
        axes.bar(places, heights, width=0.6, color=colours)
        # Values below, where the threshold's name cannot cross them.
        axes.set_xticks(places, [f"{name}\n{value:.4g}" for name, value, _ in values])
        if threshold is not None:
            _across(axes, threshold)
        highest = max([*heights, 0.0 if threshold is None else threshold.value])
        axes.set_ylim(0.0, _top(0.0, highest))
        _label(axes, x="", y=unit)
        return Plot(title, _drawn(axes))


@contextmanager
def _axes(title: str) -> Iterator[Axes]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, pad=16)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        yield axes


def _label(axes: Axes, *, x: str, y: str) -> None:
    """Units at the axes' ends, where they take no room from the plot."""
    axes.set_xlabel(x, loc="right", labelpad=1)
    axes.annotate(
        y, (0, 1), xycoords="axes fraction", xytext=(-4, 5), textcoords="offset points", ha="right"
    )


def _across(axes: Axes, threshold: Threshold) -> None:
    axes.axhline(threshold.value, color=LIMIT, linestyle=(0, (5, 4)), linewidth=1.1)
    axes.annotate(
        threshold.name,
        (1, threshold.value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        color=LIMIT,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # a bar may be behind it
    )


def _key(axes: Axes, count: int) -> None:
    """Names of the curves below the plot, where they hide none."""
    _figure(axes).legend(loc="outside lower left", ncols=min(count, 4), labelcolor=MUTED)


def _drawn(axes: Axes) -> str:
    target = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    _figure(axes).savefig(target, format="svg", metadata=nothing)
    return target.getvalue()


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _top(low: float, high: float) -> float:
    return high + 0.12 * (high - low) if high > low else low + 1.0
