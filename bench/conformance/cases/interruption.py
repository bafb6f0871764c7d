"""Points 2 and 3: an interruption is quick and truly accounted for, and nothing ever wedges."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass

from bench.conformance.meeting import Meeting, meet
from bench.conformance.plan import Plan
from bench.conformance.report import Check, failed, must, p95
from bench.conformance.sounds import cut_heard, tone
from bench.conformance.target import Target

RATE = 24_000
CLEARED_WITHIN_S = 1.0  # from clear to finished (docs/reference/contract.md)
LOST_TRAILER_WITHIN_S = 12.0
SETTLE_S = 1.2  # a jitter buffer may have grown to that
FIRST_HZ, NEXT_HZ = 440.0, 880.0


@dataclass(frozen=True, slots=True)
class Cut:
    """One interruption, in seconds from the call of `clear_buffer` unless said."""

    silence: float  # to the last of the first tone, as heard
    told: float  # to the report
    off: float  # position told, off what was heard
    next_heard: float  # from the next segment's first frame to its first sample
    stale: bool  # something of the first tone was heard after that


async def interruption(target: Target, plan: Plan) -> list[Check]:
    """Repeatedly interrupt 10 s of speech after 1 s, and say something else at once."""
    cuts: list[Cut] = []
    async with meet(target) as meeting:
        for _ in range(plan.interrupts):
            try:
                cuts.append(await _cut(meeting))
            except TimeoutError:
                return [failed("interruption", "cut and go on", "a report did not come")]
        answers = meeting.talker.answers
    of = f"p95 of {plan.interrupts}"
    limits = {
        f"clear answered, {of}": (answers, 50),
        f"finished told, {of}": ([cut.told for cut in cuts], 150),
        f"heard silence, {of}": ([cut.silence for cut in cuts], 120),
        f"position off what was heard, {of}": ([cut.off for cut in cuts], 60),
        f"next segment heard, {of}": ([cut.next_heard for cut in cuts], 250),
    }
    return [
        *(
            Check("interruption", name, 1000 * p95(values), limit, "ms")
            for name, (values, limit) in limits.items()
        ),
        Check("interruption", "stale sound", sum(cut.stale for cut in cuts), 0, "times"),
    ]


async def _cut(meeting: Meeting) -> Cut:
    talker = meeting.talker
    count, starts = len(talker.finished), len(talker.started)
    begun = await talker.say(tone(10.0, RATE), RATE)
    await talker.until_started(starts + 1)
    await asyncio.sleep(1.0)
    cleared = time.monotonic()
    talker.out.clear_buffer()
    resumed = await talker.say(tone(0.4, RATE, hz=NEXT_HZ), RATE)  # waits for the report
    end = await talker.until_finished(count + 1, CLEARED_WITHIN_S + 1.5)
    await talker.until_finished(count + 2, 3.0)
    await asyncio.sleep(SETTLE_S)
    told, position = end.at - cleared, end.position
    sound = cut_heard(meeting.ears.heard(begun), FIRST_HZ, NEXT_HZ)
    if sound is None:
        return Cut(math.nan, told, math.nan, math.nan, stale=True)
    return Cut(
        silence=sound.ended - cleared,
        told=told,
        off=abs(position - (sound.ended - sound.began)),
        next_heard=sound.next_began - resumed,
        stale=sound.stale,
    )


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
    await asyncio.sleep(SETTLE_S)
    begun = await talker.say(tone(0.5, RATE), RATE)
    try:
        await talker.until_finished(count + 1, 3.0)
    except TimeoutError:
        return False
    await asyncio.sleep(SETTLE_S)
    return meeting.ears.heard(begun).seconds() > 0.25
