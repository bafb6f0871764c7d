"""The plots of a report on sessions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.report.plots import Curve, Plot, Threshold, bars, curves, histogram
from bench.rooms.limits import Limit
from bench.rooms.sessions import Run


def search(names: Sequence[str], runs: Sequence[Run]) -> list[Plot | None]:
    """The slowest session and the longest gap of each run."""
    limits = runs[0].load.limits
    fps = [round(min(room.received_fps for room in run.rooms), 2) for run in runs]
    longest = [max(room.longest_gap_ms for room in run.rooms) for run in runs]
    # A room without pictures has an endless gap: cut where the others can still be read.
    gaps = [round(min(10 * limits["gap"].bound, gap)) for gap in longest]
    held = [not run.failed for run in runs]
    many = "at each number of sessions"
    return [
        bars(
            f"Slowest session {many}",
            list(zip(names, fps, held, strict=True)),
            unit="fps",
            threshold=_threshold(limits["fps"]),
        ),
        bars(
            f"Longest gap {many}",
            list(zip(names, gaps, held, strict=True)),
            unit="ms",
            threshold=_threshold(limits["gap"]),
        ),
    ]


def over_time(run: Run) -> list[Plot | None]:
    """Pictures, agents' turns, and what each process used."""
    costs = run.costs.of.items()
    cores = [Curve(name, cost.times, cost.cores_over) for name, cost in costs]
    memory = [Curve(name, cost.times, cost.rss_over) for name, cost in costs]
    lag = [Curve(name, p.times, p.lag_p99) for name, p in run.pulses.items()]
    return [
        *_pictures(run),
        *_turns(run),
        curves("CPU of each process", cores, unit="cores"),
        curves("Memory of each process (RSS)", memory, unit="MB"),
        curves("Event-loop lag p99, up to", lag, unit="ms"),
    ]


def _pictures(run: Run) -> list[Plot | None]:
    counts = _matrix([room.over for room in run.rooms])
    gaps = _matrix([room.gap_over for room in run.rooms])
    if not counts.size or not gaps.size:
        return []
    seconds = (np.arange(counts.shape[1]) + 1.0).tolist()
    fps = [
        Curve("slowest session", seconds, counts.min(axis=0).tolist()),
        Curve("mean", seconds, counts.mean(axis=0).tolist()),
    ]
    seconds = (np.arange(gaps.shape[1]) + 1.0).tolist()
    worst = [
        Curve("longest of any session", seconds, gaps.max(axis=0).tolist()),
        Curve("median session", seconds, np.median(gaps, axis=0).tolist()),
    ]
    limit = _threshold(run.load.limits["gap"])
    return [
        curves("Pictures received in each second", fps, unit="fps"),
        curves("Longest gap in each second", worst, unit="ms", threshold=limit),
    ]


def _turns(run: Run) -> list[Plot | None]:
    turns = [value for room in run.rooms for value in room.turns]
    interrupts = [value for room in run.rooms for value in room.interrupts]
    limits = run.load.limits
    return [
        histogram(
            title,
            [value for value in values if value is not None],
            unit="ms",
            threshold=_threshold(limits[name]),
        )
        for name, values, title in (
            ("turn", turns, "Turn start, as heard"),
            ("interrupt", interrupts, "Interrupt to silence"),
        )
    ]


def _threshold(limit: Limit) -> Threshold:
    return Threshold(limit.bound, f"limit {limit.bound:g} {limit.unit}".rstrip())


def _matrix(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """(rooms, seconds): the seconds that every room has; empty without any."""
    length = min((len(row) for row in rows), default=0)
    return np.array([row[:length] for row in rows], np.float64)
