"""How long to wait before a failed attempt is repeated."""

from __future__ import annotations


class Backoff:
    """Pauses between attempts, each twice as long as the last, up to a limit."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._pause_s = first_s

    def next_s(self) -> float:
        """Returns the pause after another failed attempt."""
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, self._longest_s)
        return pause_s

    def reset(self) -> None:
        """An attempt succeeded; start again with the first pause."""
        self._pause_s = self._first_s
