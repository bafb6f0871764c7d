"""What a session's output did on time. Pure: time is an argument, seconds of time.monotonic().

Each measurement is taken once and feeds both `GET /sessions/{id}/stats` (contract.md, Sessions)
and, through `observed`, the histograms of `/metrics`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.rtc.output.playback_ledger import Finished, Started
from app.telemetry.histograms import Observed
from engine import FRAME_S

WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class _ShownPicture:
    at: float
    late_s: float
    fresh: bool  # the tick's own picture, not the last one again


class Timing:
    """One session's measurements. The window stands still once the session has ended."""

    def __init__(self) -> None:
        self._shown: deque[_ShownPicture] = deque()
        self._last: float | None = None  # when the last picture was captured
        self._away = False
        self.ended: float | None = None  # since then the window stands still
        self._dropped: deque[tuple[float, int]] = deque()
        self._turns: deque[float] = deque(maxlen=1000)
        self._interrupts: deque[float] = deque(maxlen=1000)
        self._counts = {"turns": 0, "interrupts": 0}
        self.first_frame_ms: float | None = None
        self.segments = {"started": 0, "finished": 0, "interrupted": 0}
        self.observed = Observed()

    def first_frame(self, seconds: float) -> None:
        """From the request to the first picture captured in the room."""
        self.first_frame_ms = round(seconds * 1000, 2)
        self.observed.observe("first_frame", seconds)

    def ready(self, seconds: float) -> None:
        """From the request to `ready`."""
        self.observed.observe("join", seconds)

    def present(self, there: bool) -> None:
        """Whether the avatar is in its room: what is captured elsewhere nobody can see."""
        self._away = not there

    def shown(self, now: float, due: float, *, fresh: bool) -> None:
        """A picture has been captured; `fresh` when it is the tick's own."""
        if self._away or self.ended is not None:
            return
        late = now - due
        self._shown.append(_ShownPicture(now, late, fresh))
        self.observed.observe("picture_lateness", late)
        if fresh:
            self.observed.observe("av_offset", late)
        else:
            self.observed.count("pictures_repeated")
        if self._last is not None:
            self.observed.observe("picture_gap", now - self._last)
        self._last = now
        self._forget(now)

    def dropped(self, now: float, ticks: int) -> None:
        """So many ticks passed without any picture captured."""
        if not self._away and self.ended is None:
            self._dropped.append((now, ticks))
            self.observed.count("pictures_dropped", ticks)

    def sound_gap(self, seconds: float) -> None:
        """Speech was held up: nothing was there to be sent for so long in the midst of it."""
        self.observed.observe("sound_gap", seconds)

    def turn_started(self, seconds: float) -> None:
        """First sound in to the first sound out that left with its own picture."""
        self._turns.append(seconds)
        self._counts["turns"] += 1
        self.observed.observe("turn_start", seconds)

    def interrupted(self, seconds: float) -> None:
        """Request to fall silent until nothing of the old speech was left to be sent."""
        self._interrupts.append(seconds)
        self._counts["interrupts"] += 1
        self.observed.observe("interrupt", seconds)

    def barged_in(self) -> None:
        """A person began to speak, and the avatar is asked to fall silent for that."""
        self.observed.count("barge_ins")

    def played(self, event: Started | Finished) -> None:
        """What became of a segment."""
        outcome = "started"
        if isinstance(event, Finished):
            outcome = "interrupted" if event.interrupted else "finished"
        self.segments[outcome] += 1
        self.observed.count(f"segments_{outcome}")

    def end(self, now: float) -> None:
        """The session is over: pictures captured while it leaves its room count no more."""
        self.ended = now if self.ended is None else self.ended

    def body(self, now: float) -> dict[str, Any]:
        """The stats of the last ten seconds; counts of turns and segments are of the session."""
        until = now if self.ended is None else min(now, self.ended)
        self._forget(until)
        late = [shown.late_s * 1000 for shown in self._shown]
        fresh = [shown.late_s * 1000 for shown in self._shown if shown.fresh]
        return {
            "fps": self._fps(until),
            "lateness_ms": quantiles(late, 50, 95, 99),
            "repeated_frames": sum(not shown.fresh for shown in self._shown),
            "dropped_frames": sum(ticks for _, ticks in self._dropped),
            "av_offset_ms": quantiles(fresh, 50)["p50"],
            "time_to_first_frame_ms": self.first_frame_ms,
            "turn_start_ms": _of_session(self._turns, self._counts["turns"]),
            "interrupt_ms": _of_session(self._interrupts, self._counts["interrupts"]),
            "segments": dict(self.segments),
        }

    def _fps(self, now: float) -> float | None:
        """Pictures a second up to now: a standstill counts while it lasts."""
        if len(self._shown) < 2:
            return None if self._last is None or now - self._last < WINDOW_S else 0.0
        # One that is due within a tick is not missing yet.
        seconds = max(self._shown[-1].at, now - FRAME_S) - self._shown[0].at
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


def _of_session(seconds: deque[float], count: int) -> dict[str, float | int | None]:
    """Quantiles of the last thousand, and how many there were in all."""
    return {**quantiles((s * 1000 for s in seconds), 50, 95), "count": count}
