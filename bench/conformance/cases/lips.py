"""Points 1 and 2, by eye: lips begin to move with the first sound, and close when it is cut off.

No persona is known here: the mouth is where brightness follows loudness, as in sync.py.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import numpy as np

from bench.conformance.cases.sync import opening_of
from bench.conformance.meeting import Meeting, meet
from bench.conformance.plan import Plan
from bench.conformance.report import Check, must, p95
from bench.conformance.sounds import Floats, Heard, vowel
from bench.conformance.target import Target

RATE = 24_000
SEGMENT_S, CUT_AFTER_S = 3.0, 1.0
IN_A_SESSION = 4  # turns: over before the engine stumbles as the suite's own service is told to
REPORT_S = 2.5
REST_S = 1.5  # a jitter buffer may have grown to that, and the mouth has closed by then
IDLE_S = 0.7  # before a turn: nothing moves the mouth but the idle face
CLOSED = 0.15  # of the speaking range, above the idle band (contract.md, Definitions)
CLOSING_MS = 400.0  # eight pictures, as MuseTalk's services close a mouth, and two on their way
LEAST = 2  # pictures: one alone may be noise of the video's coding


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds of opening and of closing, later than the first and the last of the sound."""

    opens: float
    closes: float


async def lips(target: Target, plan: Plan) -> list[Check]:
    """Speak and be interrupted repeatedly, in front of a viewer."""
    turns: list[Turn] = []
    while len(turns) < plan.lips:
        turns += await _session(target, min(IN_A_SESSION, plan.lips - len(turns)))
    of, middle = f"p95 of {len(turns)}", f"median of {len(turns)}"
    # The median: a viewer whose jitter buffer has grown holds sound longer than pictures for many
    # seconds, and where everything shares a few cores that is the viewer's own waiting for one.
    opens = [abs(turn.opens) for turn in turns]
    apart = float(np.median(opens))
    closes = [turn.closes for turn in turns]
    return [
        must("turn start", "the lips move in each turn", all(map(math.isfinite, opens))),
        Check("turn start", f"lips and first sound apart, {middle}", 1000 * apart, 120, "ms"),
        must("interruption", "the mouth closes each time", all(map(math.isfinite, closes))),
        Check(
            "interruption",
            f"closed after the last sound, {of}",
            1000 * p95(closes),
            CLOSING_MS,
            "ms",
        ),
    ]


async def _session(target: Target, count: int) -> list[Turn]:
    async with meet(target, pictures=True) as meeting:
        first = time.monotonic()
        await asyncio.sleep(REST_S)
        begun = [await _turn(meeting) for _ in range(count)]
        heard = meeting.ears.heard(first)
        seen = [(at, luma) for at, luma in meeting.ears.seen if at >= first]
    if len(seen) < LEAST:
        return [Turn(math.nan, math.nan)] * count
    times, opening = opening_of(heard, seen)
    ends = [*(at - 0.1 for at in begun[1:]), times[-1]]
    return [
        _look(heard, times, opening, start, end) for start, end in zip(begun, ends, strict=True)
    ]


async def _turn(meeting: Meeting) -> float:
    """Time of the first frame of the speech that is interrupted later."""
    talker = meeting.talker
    count, starts = len(talker.finished), len(talker.started)
    begun = await talker.say(vowel(SEGMENT_S, RATE), RATE)
    await talker.until_started(starts + 1)
    await asyncio.sleep(CUT_AFTER_S)
    talker.out.clear_buffer()
    await talker.until_finished(count + 1, REPORT_S)
    await asyncio.sleep(REST_S)
    return begun


def _look(heard: Heard, times: Floats, opening: Floats, start: float, end: float) -> Turn:
    """One turn, of which nothing is known (nan) if it was not heard or not seen."""
    sound = heard.between(start, end).audible()
    idle = opening[(times >= start - IDLE_S) & (times < start)]
    if sound is None or len(idle) < LEAST:
        return Turn(math.nan, math.nan)
    spoken = opening[(times >= sound[0] + 0.2) & (times < sound[1] - 0.1)]
    if not len(spoken):
        return Turn(math.nan, math.nan)
    band = float(np.percentile(idle, 95))
    span = float(np.median(spoken) - np.median(idle))
    inside = (times >= start) & (times < end)
    at, is_open = times[inside], opening[inside] > band + CLOSED * span
    lasting = np.flatnonzero(is_open[:-1] & is_open[1:])
    if span <= 0 or not len(lasting):
        return Turn(math.nan, math.nan)
    shut = np.flatnonzero(~is_open & (at > at[lasting[-1]]))
    closes = float(at[shut[0]]) - sound[1] if len(shut) else math.inf
    return Turn(float(at[lasting[0]]) - sound[0], closes)
