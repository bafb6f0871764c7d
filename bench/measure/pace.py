"""How evenly pictures arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.measure.recording import Floats


@dataclass(frozen=True, slots=True)
class Pace:
    fps: float  # pictures a second from the first arrival to the last
    longest_gap_s: float  # between two pictures
    gaps: dict[int, int]  # milliseconds -> how many gaps were longer


LIMITS_MS = (60, 100, 120, 200)


def pace(times: Floats) -> Pace:
    """Of arrivals in seconds, ascending. Two at least; fewer are no motion at all: 0 fps."""
    if len(times) < 2:
        return Pace(0.0, float("inf"), dict.fromkeys(LIMITS_MS, 0))
    intervals = np.diff(times)
    span = float(times[-1] - times[0])
    return Pace(
        fps=len(intervals) / span if span > 0 else 0.0,
        longest_gap_s=float(intervals.max()),
        gaps={ms: int((intervals > ms / 1000).sum()) for ms in LIMITS_MS},
    )


def widest_gap(count: int, total_s: float, squares_s: float) -> float:
    """The longest that one of `count` (1 at least) gaps can be, from their sum and squares' sum.

    Just that when one is long and the others are alike; else the longest is shorter.
    """
    mean = total_s / count
    variance = max(0.0, squares_s / count - mean * mean)
    return mean + math.sqrt(variance * (count - 1))
