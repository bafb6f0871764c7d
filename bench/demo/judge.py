"""What a recording says of the avatar, line by line, against the limits it is held to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.demo.take import Take
from bench.measure.align import Alignment, align, continuity
from bench.measure.clicks import click_offset, onsets
from bench.measure.mouth import openings
from bench.measure.pace import pace
from bench.measure.recording import Floats, Seen
from bench.measure.report import Line, at_least, at_most, timed, within
from bench.measure.sync import closing, find_offset, mouth_loudness, reference_curve, speech_span
from engine.core.types import FRAME_S
from engine.engine_config import Stall

SETTLE_S = 1.0  # pictures just after the first are the video stream finding its feet
WINDOW_S = 2.0  # of speech from which one offset is told
HOP_S = 0.5
RECOVERY_S = 1.0  # after a stall, until the offset is right again (docs/reference/contract.md)
LEAST_WINDOWS = 0.5  # share of the speech that must have told its offset


@dataclass(frozen=True)
class Offsets:
    """The offset in windows along the speech."""

    times: Floats  # (n,) start of each window
    seconds: Floats  # (n,) nan where it could not be measured

    @property
    def known(self) -> Floats:
        return self.seconds[~np.isnan(self.seconds)]


@dataclass(frozen=True)
class Verdict:
    """The lines, and when in the take things were as they were, for a closer look."""

    lines: list[Line]
    offsets_ms: list[tuple[float, float]]  # seconds after the first frame, in windows of 2 s
    gaps_ms: list[tuple[float, float]]  # the same, of gaps between pictures over 60 ms


def judge(
    take: Take, reference: Floats, stalls: tuple[Stall, ...], clicks: Floats | None = None
) -> Verdict:
    """All lines of the demo.

    Args:
        reference: (n,) openings of the same speech rendered offline.
        clicks: seconds of the speech at which tones begin, if it is a click track.
    """
    alignment = align(take.sent, take.heard)
    seen = see(take)
    start, end = speech_span(take.heard, take.speech_from)
    offsets = windows(seen, alignment, reference, start, end)
    lines = [
        *timed(
            [
                at_most("time to ready", take.ready_s * 1000, 1500, "ms"),
                at_most("first picture at the viewer", _first_picture_ms(take), 2500, "ms"),
                *_pace_lines(take),
                *_offset_lines(offsets, take.first_frame, stalls),
                *([] if clicks is None else [_click_line(take, seen, reference, clicks)]),
            ]
        ),
        *timed([*_mouth_lines(take, seen, start, end), *_audio_lines(alignment)]),
        Line("session's end", take.end_state, "ended", take.end_state == "ended"),
        Line("left in the room", str(len(take.left_behind)), "0", not take.left_behind),
    ]
    known = ~np.isnan(offsets.seconds)
    intervals = np.diff(take.arrivals)
    long = intervals > 0.06
    return Verdict(
        lines,
        _curve(offsets.times[known] - take.first_frame, offsets.seconds[known]),
        _curve(take.arrivals[:-1][long] - take.first_frame, intervals[long]),
    )


def see(take: Take) -> Seen:
    """The pictures, each as how far its mouth was open."""
    idle = take.arrivals < take.speech_from
    return Seen(take.arrivals, openings(take.crops, take.crops[idle], take.region))


def windows(
    seen: Seen, alignment: Alignment, reference: Floats, start: float, end: float
) -> Offsets:
    """Find the offset anew in every two seconds of the speech."""
    curve = reference_curve(alignment, reference)
    times = np.arange(start, end - WINDOW_S, HOP_S)
    found = [find_offset(seen.between(at, at + WINDOW_S), curve).seconds for at in times]
    return Offsets(times, np.array(found, np.float64))


def disturbed(times: Floats, first_frame: float, stalls: tuple[Stall, ...]) -> NDArray[np.bool_]:
    """Whether a window that starts then touches a stall, or the second granted after it."""
    touched = np.zeros(len(times), np.bool_)
    for stall in stalls:
        start = first_frame + stall.at_s
        over = start + stall.duration_s + RECOVERY_S
        touched |= (times + WINDOW_S > start) & (times < over)
    return touched


def _curve(times: Floats, seconds: Floats) -> list[tuple[float, float]]:
    pairs = zip(times, seconds * 1000, strict=True)
    return [(round(float(at), 2), round(float(ms), 1)) for at, ms in pairs]


def _first_picture_ms(take: Take) -> float:
    return float(take.arrivals[0] - take.posted) * 1000


def _pace_lines(take: Take) -> list[Line]:
    steady = pace(take.arrivals[take.arrivals >= take.arrivals[0] + SETTLE_S])
    return [
        within("pictures a second received", steady.fps, 25.0, 0.2, "", 2),
        at_most("longest gap between pictures", steady.longest_gap_s * 1000, 120, "ms"),
    ]


def _offset_lines(offsets: Offsets, first_frame: float, stalls: tuple[Stall, ...]) -> list[Line]:
    calm = ~disturbed(offsets.times, first_frame, stalls)
    steady = Offsets(offsets.times[calm], offsets.seconds[calm])
    if len(steady.known) < LEAST_WINDOWS * max(1, len(steady.times)):
        unknown = float("nan")
        return [within("A/V offset, median (+ picture late)", unknown, 0, 45, "ms", 0)]
    known = steady.known * 1000
    where = ", from 1 s after stalls" if stalls else ""
    return [
        within("A/V offset, median (+ picture late)", float(np.median(known)), 0, 45, "ms", 0),
        at_most(f"|A/V offset| p95{where}", float(np.percentile(np.abs(known), 95)), 45, "ms"),
    ]


def _click_line(take: Take, seen: Seen, reference: Floats, clicks: Floats) -> Line:
    tones = onsets(take.heard)
    offline = Seen(np.arange(len(reference), dtype=np.float64) * FRAME_S, reference)
    found = click_offset(seen, tones[tones >= take.speech_from], offline, clicks) * 1000
    return within(f"the same, by {len(found)} clicks, mean", float(found.mean()), 0, 45, "ms", 0)


def _mouth_lines(take: Take, seen: Seen, start: float, end: float) -> list[Line]:
    likeness = mouth_loudness(seen, take.heard, start, end)
    closed = _closed_after_ms(take, seen, start, end)
    return [
        at_least("mouth follows loudness (Pearson)", likeness, 0.6),
        at_most("mouth closed after the speech", closed, 500, "ms"),
    ]


def _closed_after_ms(take: Take, seen: Seen, start: float, end: float) -> float:
    return closing(seen, seen.between(0.0, take.speech_from), start, end).after_s * 1000


def _audio_lines(alignment: Alignment) -> list[Line]:
    heard = continuity(alignment)
    known = alignment.sure.latencies * 1000
    p50, p95 = np.percentile(known, [50, 95]) if len(known) else (np.nan, np.nan)
    return [
        Line("track latency, median", f"{p50:.0f} ms"),
        at_most("track latency, p95", float(p95), 400, "ms"),
        at_most(f"audio lost, of {heard.pieces} pieces of 40 ms", heard.missing, 0, ""),
        at_most("latest audio behind the median", heard.latest_s * 1000, 100, "ms"),
    ]
