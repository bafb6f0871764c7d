"""Points 2 and 3: an interruption is quick and truly accounted for, and nothing ever wedges."""

from __future__ import annotations

import asyncio
import math
import random
import time

from ..meeting import Meeting, meet
from ..plan import Plan
from ..report import Check, failed, must, p95
from ..sounds import tone
from ..target import Target

RATE = 24_000
CLEARED_WITHIN_S = 1.0  # contract.md: clear answered by finished within
LOST_TRAILER_WITHIN_S = 12.0
SETTLE_S = 0.6
NEXT_HZ = 880.0


async def interruption(target: Target, plan: Plan) -> list[Check]:
    """Again and again: cut 10 s off after 1 s, and say something else at once."""
    silence: list[float] = []
    off: list[float] = []
    told: list[float] = []
    next_start: list[float] = []
    stale = 0
    async with meet(target) as meeting:
        for _ in range(plan.interrupts):
            try:
                result = await _cut(meeting)
            except TimeoutError:
                return [failed("interruption", "cut and go on", "a report did not come")]
            silence.append(result[0])
            off.append(result[1])
            told.append(result[2])
            next_start.append(result[3])
            stale += result[4]
        answers = meeting.talker.answers
    of = f"p95 of {plan.interrupts}"
    return [
        Check("interruption", f"clear answered, {of}", 1000 * p95(answers), 50, "ms"),
        Check("interruption", f"finished told, {of}", 1000 * p95(told), 150, "ms"),
        Check("interruption", f"heard silence, {of}", 1000 * p95(silence), 120, "ms"),
        Check("interruption", f"position off what was heard, {of}", 1000 * p95(off), 60, "ms"),
        Check("interruption", f"next segment heard, {of}", 1000 * p95(next_start), 250, "ms"),
        Check("interruption", "stale sound in the next segment", stale, 0, "times"),
    ]


async def _cut(meeting: Meeting) -> tuple[float, float, float, float, int]:
    """Silence after, position off, told after, next heard after (s), and whether stale."""
    talker = meeting.talker
    count = len(talker.finished)
    begun = await talker.say(tone(10.0, RATE), RATE)
    await talker.until_started(len(talker.started) + 1)
    await asyncio.sleep(1.0)
    cleared = time.monotonic()
    talker.out.clear_buffer()
    end = await talker.until_finished(count + 1, CLEARED_WITHIN_S + 1.5)
    resumed = await talker.say(tone(0.4, RATE, hz=NEXT_HZ), RATE)
    await talker.until_finished(count + 2, 3.0)
    await asyncio.sleep(SETTLE_S)
    heard = meeting.ears.heard(begun)
    # The first tone ends where the pause, or the other tone, begins.
    gap = _quiet(heard.between(cleared, resumed + 1.5))
    first = heard.between(begun, gap)
    second = heard.between(gap, time.monotonic())
    spans = first.audible(), second.audible()
    if spans[0] is None or spans[1] is None:
        return math.nan, math.nan, end.at - cleared, math.nan, 1
    stale = abs(second.between(*spans[1]).pitch() - NEXT_HZ) > 20
    return (
        spans[0][1] - cleared,
        abs(end.position - first.seconds()),
        end.at - cleared,
        spans[1][0] - resumed,
        int(stale),
    )


def _quiet(heard: object) -> float:
    """The middle of the first 10 ms without sound."""
    from ..sounds import Heard

    assert isinstance(heard, Heard)
    soft = heard.levels < 0.002
    for index in range(len(soft) - 1):
        if soft[index] and soft[index + 1]:
            return float(heard.times[index + 1])
    return float(heard.times[-1])


async def storm(target: Target, plan: Plan) -> list[Check]:
    """Segment, interruption after 0 to 500 ms, next segment; counts stay equal throughout."""
    slowest, wedged = 0.0, 0
    chance = random.Random(7)
    async with meet(target) as meeting:
        talker = meeting.talker
        for number in range(1, plan.storm + 1):
            await talker.push(tone(chance.uniform(0.1, 2.0), RATE), RATE)
            if chance.random() < 0.5:  # else cut off in mid-stream
                talker.out.flush()
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            talker.out.flush()
            cleared = time.monotonic()
            talker.out.clear_buffer()
            try:
                await talker.until_finished(number, CLEARED_WITHIN_S + 1.5)
            except TimeoutError:
                wedged += 1
                break
            slowest = max(slowest, talker.finished[number - 1].at - cleared)
        last = await _still_speaks(meeting)
        surplus = len(talker.finished) - talker.out.captured_playout_segments
    return [
        must("storm", f"{plan.storm} interruptions, none wedged", not wedged),
        Check("storm", "slowest report after a clear", slowest, CLEARED_WITHIN_S, "s"),
        must("storm", "as many finished as segments", surplus == 0, f"{surplus:+d}"),
        must("storm", "speaks afterwards", last),
    ]


async def lost_trailers(target: Target, plan: Plan) -> list[Check]:
    """Streams that are never closed."""
    checks: list[Check] = []
    async with meet(target) as meeting:
        talker = meeting.talker
        await talker.push(tone(1.0, RATE), RATE)
        talker.lose_trailer()
        begun = await talker.say(tone(1.0, RATE), RATE)
        checks.append(await _ends(meeting, 2, begun, 4.0, "superseded by the next header"))
        await talker.push(tone(1.0, RATE), RATE)
        talker.lose_trailer()
        begun = time.monotonic()
        checks.append(await _ends(meeting, 3, begun, LOST_TRAILER_WITHIN_S, "alone"))
        await talker.push(tone(3.0, RATE), RATE)
        talker.lose_trailer()
        begun = time.monotonic()
        talker.out.clear_buffer()
        checks.append(await _ends(meeting, 4, begun, CLEARED_WITHIN_S, "cleared"))
        checks.append(must("trailers", "speaks afterwards", await _still_speaks(meeting)))
    return checks


async def _ends(meeting: Meeting, count: int, since: float, limit: float, name: str) -> Check:
    try:
        end = await meeting.talker.until_finished(count, limit + 3.0)
    except TimeoutError:
        return failed("trailers", f"lost, {name}", "never finished")
    return Check("trailers", f"lost, {name}: finished within", end.at - since, limit, "s")


async def _still_speaks(meeting: Meeting) -> bool:
    talker = meeting.talker
    count = len(talker.finished)
    begun = await talker.say(tone(0.5, RATE), RATE)
    try:
        await talker.until_finished(count + 1, 3.0)
    except TimeoutError:
        return False
    await asyncio.sleep(SETTLE_S)
    return abs(meeting.ears.heard(begun).seconds() - 0.5) < 0.1
