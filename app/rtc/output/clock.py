"""The output clock of a session: tick n is the n-th 40 ms of what it says and shows."""

from __future__ import annotations

from engine import FRAME_S


class OutputClock:
    """Maps ticks to seconds of `time.monotonic()`. It only ever slips later, never earlier."""

    def __init__(self, origin: float) -> None:
        self._origin = origin
        self.slipped_s = 0.0

    def time_of(self, tick: int) -> float:
        """When the first sample of a tick's audio leaves the audio source."""
        return self._origin + tick * FRAME_S

    def tick_at(self, now: float) -> int:
        """The tick being heard at a moment."""
        return int((now - self._origin) // FRAME_S)

    def slip(self, seconds: float) -> None:
        """The audio source ran dry for so long: everything after is heard that much later."""
        self._origin += seconds
        self.slipped_s += seconds
