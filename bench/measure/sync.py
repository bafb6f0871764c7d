"""Lip sync: how late pictures are, how well they follow the sound, when the mouth shuts.

The offset needs no marker in picture or sound. A picture's opening is a function of its own 40 ms
of audio, so openings are compared with a curve of what the heard audio would have them be, moved
by every lag in question; the lag that fits best is the offset. Positive = picture late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.measure.align import AUDIBLE, Alignment
from bench.measure.recording import ANALYSIS_RATE, Floats, Seen, TimedAudio
from engine.core.types import FPS, FRAME_S

Curve = Callable[[Floats], Floats]
"""Expected opening, in any unit, of a picture whose own audio began to be heard at a time."""

SPAN_S = 0.3  # offsets are looked for within ± this
STEP_S = 0.002
LEAST_FIT = 0.3  # a weaker fit than this says nothing about the offset


@dataclass(frozen=True, slots=True)
class Offset:
    seconds: float  # nan if it could not be measured
    fit: float  # correlation at that lag


def loudness_curve(heard: TimedAudio) -> Curve:
    """Expects mouths to open with the loudness of their own 40 ms.

    A mouth that follows loudness with a delay of its own looks late by it: good for a first
    look, and where no picture of the same speech is at hand.
    """
    return lambda times: heard.loudness(times, FRAME_S)


def reference_curve(alignment: Alignment, openings: Floats) -> Curve:
    """Expects the openings that the same speech had when rendered offline, without any clock.

    `openings` (n,): of the picture whose own 40 ms begin at n * 40 ms of the sent audio. What
    is particular to the mouth is in both, so nothing of it is taken for an offset.
    """
    starts = np.arange(len(openings)) * (ANALYSIS_RATE // FPS)

    def expected(times: Floats) -> Floats:
        position = alignment.sent_position(times)
        return np.interp(position, starts, openings, left=np.nan, right=np.nan)

    return expected


def find_offset(seen: Seen, curve: Curve) -> Offset:
    """The lag at which the openings follow the curve best, to a fraction of a millisecond."""
    steps = round(SPAN_S / STEP_S)
    lags: Floats = np.arange(-steps, steps + 1, dtype=np.float64) * STEP_S
    fits = np.array([pearson(seen.openings, curve(seen.times - lag)) for lag in lags])
    best = int(np.argmax(fits))
    if not fits[best] >= LEAST_FIT:
        return Offset(float("nan"), float(fits[best]))
    return Offset(_top(lags, fits, best), float(fits[best]))


def _top(lags: Floats, fits: Floats, best: int, half_width: int = 8) -> float:
    """Top of the parabola through the neighbourhood: single fits are jagged by picture steps."""
    near = slice(max(0, best - half_width), best + half_width + 1)
    bend, slope, _ = np.polyfit(lags[near] - lags[best], fits[near], 2)
    if bend >= 0:
        return float(lags[best])
    reach = half_width * STEP_S
    return float(lags[best] + np.clip(-slope / (2 * bend), -reach, reach))


def pearson(a: Floats, b: Floats) -> float:
    """Correlation over the places where both are known; -1 if they are too few."""
    known = ~(np.isnan(a) | np.isnan(b))
    if known.sum() < 10:
        return -1.0
    x, y = a[known] - a[known].mean(), b[known] - b[known].mean()
    scale = float(np.sqrt(np.sum(x * x) * np.sum(y * y)))
    return float(np.sum(x * y)) / scale if scale > 1e-12 else -1.0


def mouth_loudness(seen: Seen, heard: TimedAudio, start: float, end: float) -> float:
    """Pearson correlation of opening and loudness, 25 values a second, as received.

    Each value compares the picture that was on show, for as long as it was, in 40 ms with the
    RMS of what was heard in the same 40 ms.
    """
    edges = np.arange(start, end, FRAME_S)
    return pearson(_shown(seen, edges), heard.loudness(edges[:-1], FRAME_S))


def _shown(seen: Seen, edges: Floats) -> Floats:
    """(len(edges) - 1,) mean opening on show between neighbouring edges; nan before the first."""
    if len(seen.times) < 2:
        return np.full(len(edges) - 1, np.nan)
    held = np.concatenate([[0.0], np.cumsum(np.diff(seen.times) * seen.openings[:-1])])
    shown = np.minimum(np.searchsorted(seen.times, edges, "right") - 1, len(held) - 1)
    area = held[shown] + (edges - seen.times[shown]) * seen.openings[shown]
    mean: Floats = np.diff(area) / np.diff(edges)
    return np.where(edges[:-1] < seen.times[0], np.nan, mean)


@dataclass(frozen=True, slots=True)
class Closing:
    """How the mouth came to rest after the last sound."""

    after_s: float  # inf when it never did
    limit: float  # openings up to this count as closed


def closing(seen: Seen, idle: Seen, speech_start: float, speech_end: float) -> Closing:
    """Time from the last sound to the first picture from which the mouth stays closed.

    Closed: within the band of the idle pictures plus 15 % of the speaking range.
    """
    speaking = seen.between(speech_start, speech_end).openings
    if not len(speaking) or not len(idle.openings):
        return Closing(float("inf"), float("nan"))
    rest = float(np.median(idle.openings))
    widest = float(np.percentile(speaking, 95))
    limit = float(np.percentile(idle.openings, 95)) + 0.15 * max(0.0, widest - rest)
    after = seen.between(speech_end, float("inf"))
    open_still = np.flatnonzero(after.openings > limit)
    first = int(open_still[-1]) + 1 if len(open_still) else 0
    if first >= len(after.times):
        return Closing(float("inf"), limit)
    return Closing(float(after.times[first] - speech_end), limit)


def speech_span(heard: TimedAudio, after: float) -> tuple[float, float]:
    """When the first and the last audible 10 ms from `after` on were heard; nan if none were."""
    times = np.arange(after, float(heard.times[-1]), 0.01)
    loud = np.flatnonzero(np.nan_to_num(heard.loudness(times, 0.01)) >= AUDIBLE)
    if not len(loud):
        return float("nan"), float("nan")
    return float(times[loud[0]]), float(times[loud[-1]] + 0.01)
