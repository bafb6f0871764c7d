"""Points 1 and 5: one started and one finished a segment, true positions, at any rate."""

from __future__ import annotations

import asyncio
import math
import time

from ..meeting import Meeting, meet
from ..plan import Plan
from ..report import Check, failed, must, p95
from ..sounds import tone
from ..target import Target

RATE = 24_000
LATE_REPORT_S = 1.0  # contract.md: a segment finishes by its duration + 1 s
SETTLE_S = 0.6  # jitter buffer and a report that should not have come
RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)


async def accounting(target: Target, plan: Plan) -> list[Check]:
    """Segments of three lengths, pushed faster than real time."""
    checks: list[Check] = []
    async with meet(target) as meeting:
        for seconds in plan.lengths:
            checks += await _segment(meeting, seconds, RATE, 1, f"{seconds:g} s")
        checks += await _pair(meeting)
    return checks


async def rates(target: Target, plan: Plan) -> list[Check]:
    """Another rate and channel count with each segment of one session."""
    checks: list[Check] = []
    async with meet(target) as meeting:
        for rate in RATES:
            for channels in (1, 2):
                name = f"{rate} Hz x {channels}"
                checks += await _segment(meeting, 1.0, rate, channels, name, point="rates")
    return checks


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


async def _segment(
    meeting: Meeting, seconds: float, rate: int, channels: int, name: str, point: str = "segments"
) -> list[Check]:
    talker = meeting.talker
    before = len(talker.finished), len(talker.started)
    begun = await talker.say(tone(seconds, rate, channels), rate, channels)
    try:
        started = await talker.until_started(before[1] + 1)
        end = await talker.until_finished(before[0] + 1, seconds + LATE_REPORT_S + 1.0)
    except TimeoutError:
        return [failed(point, name, "not reported as started and finished")]
    await asyncio.sleep(SETTLE_S)
    heard = meeting.ears.heard(begun, time.monotonic())
    counts = len(talker.finished) - before[0], len(talker.started) - before[1]
    return [
        must(point, f"{name}: one started, one finished", counts == (1, 1), f"{counts}"),
        must(point, f"{name}: finished uninterrupted", not end.interrupted),
        Check(point, f"{name}: position", 1000 * abs(end.position - seconds), 40, "ms"),
        Check(point, f"{name}: start to finish", 1000 * abs(end.at - started - seconds), 100, "ms"),
        Check(point, f"{name}: heard", 1000 * abs(heard.seconds() - seconds), 60, "ms"),
        Check(point, f"{name}: pitch", abs(heard.pitch() - 440.0), 10, "Hz"),
    ]


async def _pair(meeting: Meeting) -> list[Check]:
    """A segment that arrives while another plays is played after it, and told after it."""
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
