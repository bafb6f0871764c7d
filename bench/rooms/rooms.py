"""The figures of one session, from what its room and the service counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.measure.pace import pace
from bench.rooms.limits import Limits, missed

GAPS_MS = (60, 100, 200)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds; None where nothing was measured."""

    p50: float | None
    p95: float | None
    count: int
    unheard: int = 0  # that were never heard, and so have no value

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Quantiles:
        known = [value for value in values if value is not None]
        if not known:
            return cls(None, None, 0, len(values))
        p50, p95 = np.percentile(known, [50, 95])
        return cls(float(p50), float(p95), len(known), len(values) - len(known))


@dataclass(frozen=True, slots=True)
class Room:
    """One session. What a receiver cannot tell is None."""

    received_fps: float
    longest_gap_ms: float
    gaps: dict[str, int] | None  # milliseconds -> how many were longer; None: only counted
    sound_lost: float | None  # share of the sound that was lost or late on its way
    kbit_s: float | None  # of pictures
    av_p50_ms: float | None  # A/V offset on the wire
    av_p95_ms: float | None  # of its size
    sent_fps: float
    lateness_p50_ms: float  # of pictures leaving the service
    lateness_p95_ms: float
    lateness_p99_ms: float
    repeated: int
    dropped: int
    turns: list[float | None]  # ms from the agent's first sample until heard
    interrupts: list[float | None]  # ms from the agent's request until silence
    unfinished: int  # turns whose end was never reported
    over: list[float]  # pictures received in each second
    gap_over: list[float]  # ms, longest gap in each second

    def values(self, seconds: float) -> dict[str, float | None]:
        """The values that one session's limits apply to."""
        return {
            "fps": round(self.received_fps, 1),
            "gap": self.longest_gap_ms,
            "av": self.av_p95_ms,
            "late": self.lateness_p99_ms,
            "fresh": 100 * (self.repeated + self.dropped) / (25 * seconds),
        }

    def missed(self, seconds: float, bounds: Limits) -> list[str]:
        """Names of the limits that the session missed."""
        return missed(self.values(seconds), bounds)


def room(
    received: dict[str, Any],
    windows: list[dict[str, Any]],
    spoken: dict[str, Any] | None,
) -> Room:
    """Combine the counts of the receiver, the service's stats and the agent (if any)."""
    spoken = spoken or {"turns": [], "interrupts": [], "unfinished": 0}
    return Room(
        **(_counted(received) if "pictures" in received else _told(received)),
        sent_fps=float(np.mean([window["fps"] or 0.0 for window in windows])),
        lateness_p50_ms=float(np.median(_late(windows, "p50"))),
        lateness_p95_ms=float(np.max(_late(windows, "p95"))),
        lateness_p99_ms=float(np.max(_late(windows, "p99"))),
        repeated=sum(int(window["repeated_frames"]) for window in windows),
        dropped=sum(int(window["dropped_frames"]) for window in windows),
        turns=list(spoken["turns"]),
        interrupts=list(spoken["interrupts"]),
        unfinished=int(spoken["unfinished"]),
    )


def _late(windows: list[dict[str, Any]], percent: str) -> list[float]:
    found = [window["lateness_ms"][percent] for window in windows]
    return [math.nan if value is None else float(value) for value in found]


def _counted(received: dict[str, Any]) -> dict[str, Any]:
    """From tools/people, which saw every packet and decoded nothing."""
    pictures = np.array(received["pictures"], np.float64)
    since = float(received["since"])
    found = pace(pictures)
    skews = np.array(received["skews"], np.float64).reshape(-1, 2)[:, 1] * 1000
    sounds, lost = int(received["sounds"]), int(received["lost"])
    seconds = max(1e-6, float(pictures[-1]) - since) if len(pictures) else 1.0
    fps_over, gap_over = _over(pictures, since)
    return {
        "received_fps": found.fps,
        "longest_gap_ms": found.longest_gap_s * 1000,
        "gaps": {str(ms): found.gaps[ms] for ms in GAPS_MS},
        "sound_lost": lost / (sounds + lost) if sounds else 1.0,
        "kbit_s": float(received["bytes"]) * 8 / 1000 / seconds,
        "av_p50_ms": float(np.median(skews)) if len(skews) else None,
        "av_p95_ms": float(np.percentile(np.abs(skews), 95)) if len(skews) else None,
        "over": fps_over,
        "gap_over": gap_over,
    }


def _told(received: dict[str, Any]) -> dict[str, Any]:
    """From LiveKit's SDK: its counters, or the pictures it decoded."""
    gaps = received["gaps"]
    arrivals = np.array(received["arrivals"] or [], np.float64)
    fps_over, gap_over = _over(arrivals, float(received["since"]))
    return {
        "received_fps": float(received["fps"]),
        "longest_gap_ms": float(received["longest_gap_ms"]),
        "gaps": None if gaps is None else {str(ms): gaps[str(ms)] for ms in GAPS_MS},
        "sound_lost": received["concealed_share"],
        "kbit_s": None,
        "av_p50_ms": None,
        "av_p95_ms": None,
        "over": fps_over,
        "gap_over": gap_over,
    }


def _over(times: np.ndarray, since: float) -> tuple[list[float], list[float]]:
    """Pictures, and the longest gap that ended (ms), in each whole second after `since`."""
    if len(times) < 2:
        return [], []
    second = np.floor(times - since).astype(np.int64)
    whole = int(second[-1])
    counts = np.bincount(np.clip(second, 0, None), minlength=whole + 1)[:whole]
    longest = np.zeros(whole + 1)
    np.maximum.at(longest, np.clip(second[1:], 0, whole), np.diff(times) * 1000)
    return counts.astype(float).tolist(), np.round(longest[:whole], 1).tolist()
