"""When a backend that failed is started again."""

from __future__ import annotations

import time

from engine.core.backoff import Backoff

RESTARTING = "The engine is being restarted."
"""How a fault begins that is perhaps over soon; why follows."""

RELAPSE_S = 10.0  # a backend that faults again so soon after its restart is given up for now
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # until it is tried again; each twice the last


class Restarts:
    """Keeps the times of one backend's restarts. Used by one thread."""

    def __init__(self) -> None:
        self._restarted_at = self._due_at = float("-inf")
        self._backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)

    @property
    def relapsed(self) -> bool:
        """A fault now comes so soon after a restart that another one would not cure it."""
        return time.monotonic() - self._restarted_at <= RELAPSE_S

    @property
    def due(self) -> bool:
        """A backend that was given up may be tried again."""
        return time.monotonic() >= self._due_at

    def first(self) -> None:
        """A fault after a healthy time: start the back-off anew."""
        self._backoff.reset()

    def succeeded(self) -> None:
        self._restarted_at = time.monotonic()

    def wait(self, *, for_good: bool = False) -> None:
        """Nothing is tried before a pause, twice as long as the last, or never."""
        self._due_at = float("inf") if for_good else time.monotonic() + self._backoff.next_s()
