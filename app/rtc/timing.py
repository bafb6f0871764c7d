"""What a session's output did on time, over the last ten seconds. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class _Shown:
    at: float
    late_s: float
    fresh: bool  # the tick's own picture, not the last one again


class Timing:
    """Feeds `GET /sessions/{id}/stats`: contract.md, Sessions."""

    def __init__(self) -> None:
        self._shown: deque[_Shown] = deque()
        self._dropped: deque[tuple[float, int]] = deque()
        self._turns: deque[float] = deque(maxlen=1000)
        self._interrupts: deque[float] = deque(maxlen=1000)
        self.first_frame_ms: float | None = None
        self.segments = {"started": 0, "finished": 0, "interrupted": 0}

    def shown(self, now: float, due: float, *, fresh: bool) -> None:
        """A picture was captured; `fresh` when it is the tick's own."""
        self._shown.append(_Shown(now, now - due, fresh))
        self._forget(now)

    def dropped(self, now: float, ticks: int) -> None:
        """So many ticks passed without any picture captured."""
        self._dropped.append((now, ticks))

    def turn_started(self, seconds: float) -> None:
        """First audio in to its first picture out."""
        self._turns.append(seconds)

    def interrupted(self, seconds: float) -> None:
        """Request to fall silent until nothing of the old speech is left to be sent."""
        self._interrupts.append(seconds)

    def body(self, now: float) -> dict[str, Any]:
        """The stats of the last ten seconds; counts of turns and segments are of the session."""
        self._forget(now)
        late = [shown.late_s * 1000 for shown in self._shown]
        fresh = [shown.late_s * 1000 for shown in self._shown if shown.fresh]
        return {
            "fps": self._fps(),
            "lateness_ms": quantiles(late, 50, 95, 99),
            "repeated_frames": sum(not shown.fresh for shown in self._shown),
            "dropped_frames": sum(ticks for _, ticks in self._dropped),
            "av_offset_ms": quantiles(fresh, 50)["p50"],
            "time_to_first_frame_ms": self.first_frame_ms,
            "turn_start_ms": _of_session(self._turns),
            "interrupt_ms": _of_session(self._interrupts),
            "segments": dict(self.segments),
        }

    def _fps(self) -> float | None:
        if len(self._shown) < 2:
            return None
        seconds = self._shown[-1].at - self._shown[0].at
        return round((len(self._shown) - 1) / seconds, 2) if seconds > 0 else None

    def _forget(self, now: float) -> None:
        while self._shown and self._shown[0].at < now - WINDOW_S:
            self._shown.popleft()
        while self._dropped and self._dropped[0][0] < now - WINDOW_S:
            self._dropped.popleft()


def quantiles(values: Iterable[float], *percents: int) -> dict[str, float | None]:
    """{"p50": …}: None where there is nothing to tell."""
    known = list(values)
    if not known:
        return {f"p{percent}": None for percent in percents}
    found = np.percentile(known, percents)
    return {f"p{p}": round(float(v), 2) for p, v in zip(percents, found, strict=True)}


def _of_session(seconds: deque[float]) -> dict[str, float | int | None]:
    return {**quantiles((s * 1000 for s in seconds), 50, 95), "count": len(seconds)}
