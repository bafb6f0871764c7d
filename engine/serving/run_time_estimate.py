"""How long something takes, by the last times it was done."""

from __future__ import annotations

from collections import deque
from statistics import median_low

RECENT = 9
FORGETS = 0.99  # what is left of a time that was acted on without another measurement


class RunTimeEstimate:
    """The median of the last measurements: one stall does not change the estimate."""

    def __init__(self, first: float | None = None) -> None:
        self._last: deque[float] = deque(() if first is None else (first,), maxlen=RECENT)
        self.seconds = 0.0 if first is None else first

    def add(self, seconds: float) -> None:
        self._last.append(seconds)
        self.seconds = median_low(self._last)

    def decay(self) -> None:
        """It was so slow that it was not done: perhaps it is not any more, and nobody would see."""
        self.seconds *= FORGETS
