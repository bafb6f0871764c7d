"""Points 1 and 5: one started and one finished a segment, true positions, at any rate."""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.conformance.meeting import Meeting, meet
from bench.conformance.plan import Plan
from bench.conformance.report import Check, failed, must, p95
from bench.conformance.sounds import tone
from bench.conformance.target import Target

RATE = 24_000
LATE_REPORT_S = 1.0  # after its own duration (docs/reference/contract.md)
SETTLE_S = 0.6  # jitter buffer and a report that should not have come
RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)


async def accounting(target: Target, plan: Plan) -> list[Check]:
    """Segments of three lengths, pushed faster than real time."""
    checks: list[Check] = []
    async with meet(target) as meeting:
        for seconds in plan.lengths:
            played = [await _segment(meeting, seconds, RATE, 1)]
            checks += _checks("segments", f"{seconds:g} s", played)
        checks += await _pair(meeting)
    return checks


async def rates(target: Target, plan: Plan) -> list[Check]:
    """A different rate and channel count in each segment of one session."""
    played: dict[str, list[Played | None]] = defaultdict(list)
    async with meet(target) as meeting:
        for _ in range(plan.repeats):
            for rate, channels in itertools.product(RATES, (1, 2)):
                one = await _segment(meeting, 1.0, rate, channels)
                played[f"{rate} Hz x {channels}"].append(one)
    return [check for name, found in played.items() for check in _checks("rates", name, found)]


async def turn_start(target: Target, plan: Plan) -> list[Check]:
    """From the agent's first frame to the first audible sample at a subscriber."""
    waits: list[float] = []
    async with meet(target) as meeting:
        for number in range(1, plan.turns + 1):
            begun = await meeting.talker.say(tone(0.5, RATE), RATE)
            await meeting.talker.until_finished(number, 3.0)
            await asyncio.sleep(SETTLE_S)
            span = meeting.ears.heard(begun).audible()
            waits.append(span[0] - begun if span else math.nan)
    return [
        Check("turn start", f"p95 of {len(waits)}", 1000 * p95(waits), 250, "ms"),
        Check("turn start", "median", 1000 * sorted(waits)[len(waits) // 2], 250, "ms"),
    ]


@dataclass(frozen=True, slots=True)
class Played:
    """One segment, as reported to the agent and as heard by the listener."""

    counts: tuple[int, int]  # finished, started
    interrupted: bool
    position_off_s: float
    told_off_s: float  # from started to finished, less the segment's length
    heard_off_s: float
    pitch_off_hz: float


async def _segment(meeting: Meeting, seconds: float, rate: int, channels: int) -> Played | None:
    """None when it was not reported as started and finished."""
    talker = meeting.talker
    before = len(talker.finished), len(talker.started)
    begun = await talker.say(tone(seconds, rate, channels), rate, channels)
    try:
        started = await talker.until_started(before[1] + 1)
        end = await talker.until_finished(before[0] + 1, seconds + LATE_REPORT_S + 1.0)
    except TimeoutError:
        return None
    await asyncio.sleep(SETTLE_S)
    heard = meeting.ears.heard(begun, time.monotonic())
    return Played(
        counts=(len(talker.finished) - before[0], len(talker.started) - before[1]),
        interrupted=end.interrupted,
        position_off_s=abs(end.position - seconds),
        told_off_s=abs(end.at - started - seconds),
        heard_off_s=abs(heard.seconds() - seconds),
        pitch_off_hz=abs(heard.pitch() - 440.0),
    )


def _checks(point: str, name: str, segments: Sequence[Played | None]) -> list[Check]:
    """Of equal segments, each at its worst but for the time from started to finished."""
    played = [segment for segment in segments if segment is not None]
    if len(played) < len(segments):
        return [failed(point, name, "not reported as started and finished")]
    wrong = ", ".join(str(one.counts) for one in played if one.counts != (1, 1))
    # Its median: the agent hears of `started` only when it has sent what it was given at once,
    # which keeps a processor of a shared machine busy
    # (docs/lab/conformance.md, "Why a burst of speech…").
    told = [1000 * one.told_off_s for one in played]
    note = f"median of {len(told)}, worst {max(told):.0f} ms" if len(told) > 1 else ""
    return [
        must(point, f"{name}: one started, one finished", not wrong, wrong),
        must(point, f"{name}: finished uninterrupted", not any(one.interrupted for one in played)),
        Check(point, f"{name}: position", 1000 * max(p.position_off_s for p in played), 40, "ms"),
        Check(point, f"{name}: start to finish", statistics.median(told), 100, "ms", note),
        Check(point, f"{name}: heard", 1000 * max(p.heard_off_s for p in played), 60, "ms"),
        Check(point, f"{name}: pitch", max(p.pitch_off_hz for p in played), 10, "Hz"),
    ]


async def _pair(meeting: Meeting) -> list[Check]:
    """A segment that arrives while another plays is played and reported after it."""
    talker = meeting.talker
    before = len(talker.finished)
    for _ in range(2):
        await talker.say(tone(1.0, RATE), RATE)
    try:
        second = await talker.until_finished(before + 2, 4.0)
    except TimeoutError:
        return [failed("segments", "two at once", "not both reported as finished")]
    apart = second.at - talker.finished[before].at
    return [
        Check("segments", "two at once: one after the other", 1000 * abs(apart - 1.0), 150, "ms"),
        Check("segments", "two at once: position", 1000 * abs(second.position - 1.0), 40, "ms"),
    ]
