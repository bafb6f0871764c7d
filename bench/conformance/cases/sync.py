"""Point 4: lips and sound stay together at a viewer, through pauses of the engine.

No persona is known here: where the mouth is, is where brightness follows the loudness of what is
heard. Lips that follow loudness with a delay of their own look late by it.
"""

from __future__ import annotations

import asyncio
import time
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.conformance.meeting import Meeting, meet
from bench.conformance.plan import Plan
from bench.conformance.report import Check, failed
from bench.conformance.sounds import WINDOW_S, Floats, Heard, Pcm
from bench.conformance.target import Target

SPEECH = Path(__file__).parents[3] / "samples" / "speech.wav"
REPORT_S = 2.0
WINDOW_LOOK_S = 20.0  # an offset is told of so much speech
SPAN_S, STEP_S = 0.2, 0.004
SPOTS = 12  # of the pixels passed on, those that follow the sound best
LEAST_FIT = 0.3


async def offsets(target: Target, plan: Plan) -> list[Check]:
    """Speech for minutes on end; the offset of each 20 s of it."""
    pcm, rate = _speech()
    async with meet(target, pictures=True) as meeting:
        begun = time.monotonic()
        while time.monotonic() - begun < plan.sync_s:
            await _say(meeting, pcm, rate)
        heard = meeting.ears.heard(begun)
        seen = [(at, luma) for at, luma in meeting.ears.seen if at >= begun]
        held = _spans([pair for at, *pair in meeting.ears.held if at >= begun])
    found = _follow(heard, seen)
    if len(found) < 3:
        return [failed("sync", "A/V offset", "nothing in the picture follows the sound")]
    times, offset = found[:, 0], 1000 * found[:, 1]
    drift = abs(np.polyfit(times, offset, 1)[0]) * (times[-1] - times[0])
    minutes = f"{plan.sync_s / 60:g} min"
    return [
        Check("sync", f"A/V offset, median of {minutes}", abs(float(np.median(offset))), 45, "ms"),
        Check("sync", "A/V offset, worst 20 s", float(np.abs(offset).max()), 45, "ms", held),
        Check("sync", f"drift over {minutes}", float(drift), 5, "ms", held),
        Check("sync", "longest gap between pictures", 1000 * _gap(seen), 1100, "ms"),
    ]


async def _say(meeting: Meeting, pcm: Pcm, rate: int) -> None:
    talker = meeting.talker
    count = len(talker.finished)
    await talker.say(pcm, rate)
    await talker.until_finished(count + 1, len(pcm) / rate + REPORT_S)
    await asyncio.sleep(0.3)


def _speech() -> tuple[Pcm, int]:
    with wave.open(str(SPEECH)) as sound:
        frames = sound.readframes(sound.getnframes())
        pcm = np.frombuffer(frames, np.int16).reshape(-1, sound.getnchannels())[:, 0]
        return np.ascontiguousarray(pcm), sound.getframerate()


def _follow(heard: Heard, seen: list[tuple[float, NDArray[np.uint8]]]) -> Floats:
    """(n, 2) middle of each window and its offset in seconds; positive = picture late."""
    times, opening = opening_of(heard, seen)
    rows: list[tuple[float, float]] = []
    for start in np.arange(times[0], times[-1] - WINDOW_LOOK_S, WINDOW_LOOK_S):
        inside = (times >= start) & (times < start + WINDOW_LOOK_S)
        offset, fit = _best_lag(heard, times[inside], opening[inside])
        if fit >= LEAST_FIT:
            rows.append((start + WINDOW_LOOK_S / 2, offset))
    return np.array(rows).reshape(-1, 2)


def opening_of(heard: Heard, seen: list[tuple[float, NDArray[np.uint8]]]) -> tuple[Floats, Floats]:
    """(n,) arrivals of pictures, and (n,) how far the mouth is open in each, in its own measure."""
    times = np.array([at for at, _ in seen])
    pictures = np.stack([luma for _, luma in seen]).astype(np.float64)
    spots, signs = _mouth(heard, times, pictures)
    return times, (pictures[:, spots] * signs).mean(axis=1)


def _mouth(heard: Heard, times: Floats, pictures: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The pixels that follow the loudness best, and whether they get brighter by it."""
    loud = _loudness(heard, times)
    known = ~np.isnan(loud)
    centred = pictures[known] - pictures[known].mean(axis=0)
    wave_form = loud[known] - loud[known].mean()
    scale = np.sqrt(np.square(centred).sum(axis=0) * np.square(wave_form).sum())
    fits = wave_form @ centred / np.maximum(scale, 1e-9)
    best = np.argsort(-np.abs(fits))[:SPOTS]
    return best, np.sign(fits[best])


def _best_lag(heard: Heard, times: Floats, opening: Floats) -> tuple[float, float]:
    lags = np.arange(-SPAN_S, SPAN_S + STEP_S / 2, STEP_S)
    fits = np.array([_pearson(opening, _loudness(heard, times - lag)) for lag in lags])
    top = int(np.argmax(fits))
    near = slice(max(0, top - 8), top + 9)
    bend, slope, _ = np.polyfit(lags[near] - lags[top], fits[near], 2)
    shift = float(np.clip(-slope / (2 * bend), -0.03, 0.03)) if bend < 0 else 0.0
    return float(lags[top]) + shift, float(fits[top])


def _loudness(heard: Heard, times: Floats) -> Floats:
    """Level of the 40 ms that began to be heard at each time; nan outside."""
    count = round(0.04 / WINDOW_S)
    sums = np.concatenate([[0.0], np.cumsum(np.square(heard.levels))])
    first = np.searchsorted(heard.times, times - WINDOW_S / 2)
    valid = (first + count < len(sums)) & (times >= heard.times[0])
    first = np.where(valid, first, 0)
    power = (sums[first + count] - sums[first]) / count
    return np.where(valid, np.sqrt(np.maximum(power, 0.0)), np.nan)


def _pearson(a: Floats, b: Floats) -> float:
    known = ~np.isnan(b)
    if known.sum() < 50 or a[known].std() < 1e-9 or b[known].std() < 1e-9:
        return -1.0
    return float(np.corrcoef(a[known], b[known])[0, 1])


def _spans(held: list[list[float]]) -> str:
    """What the listener's own jitter buffers did meanwhile: they shift what is measured."""
    if not held:
        return ""
    low, high = np.nanpercentile(1000 * np.array(held), (5, 95), axis=0)
    return (
        f"the listener's buffers held sound {low[0]:.0f} to {high[0]:.0f} ms, "
        f"pictures {low[1]:.0f} to {high[1]:.0f} ms"
    )


def _gap(seen: list[tuple[float, NDArray[np.uint8]]]) -> float:
    return float(np.diff([at for at, _ in seen]).max())
