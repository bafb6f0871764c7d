"""Fault injection: when the device's thread has to stand still, and for whose sake."""

from __future__ import annotations

import heapq


class Stalls:
    """What streams ordered; nothing of it outlives the stream that did."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, float, int]] = []  # moment, seconds, stream

    def order(self, stream: int, moment: float, seconds: float) -> None:
        """Stand still for so long from that moment on, in seconds of time.monotonic()."""
        heapq.heappush(self._heap, (moment, seconds, stream))

    def forget(self, stream: int) -> None:
        self._heap = [stall for stall in self._heap if stall[2] != stream]
        heapq.heapify(self._heap)

    def take(self, now: float) -> float:
        """Seconds of the earliest stall that is due; 0 if none is."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[1]
        return 0.0
