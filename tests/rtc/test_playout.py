"""Speech laid on the output clock: hypothesis plays the network, the clock and the loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rtc.output.clock import OutputClock
from app.rtc.output.playout import Chunk, Playout
from engine.core.types import FRAME_S

PCM = np.zeros(1920, np.int16)
LEAD = 0.06


def chunk(frame: int, *, silent: bool = False) -> Chunk:
    return Chunk(frame, PCM, silent)


def playout(start_delay: float = 0.11) -> Playout:
    return Playout(OutputClock(LEAD), lead_s=LEAD, start_delay_s=start_delay)


def test_silence_goes_out_while_nobody_speaks() -> None:
    line = playout()
    assert [line.take() for _ in range(3)] == [None] * 3
    assert line.next_tick == 3


def test_speech_starts_no_sooner_than_its_first_picture_can_be_painted() -> None:
    line = playout(start_delay=0.11)
    line.add(chunk(0), now=0.0)
    ((tick, planned),) = line.plan(complete=1, urgent=0.0, until=10.0)
    assert planned.frame == 0
    assert OutputClock(LEAD).time_of(tick) >= 0.11
    assert OutputClock(LEAD).time_of(tick - 1) < 0.11
    heard = [line.take() for _ in range(tick + 1)]
    assert heard[:-1] == [None] * tick
    assert heard[-1] is planned


def test_planned_ticks_are_the_ticks_that_speech_goes_out_on() -> None:
    line = playout()
    for frame in range(5):
        line.add(chunk(frame), now=0.0)
    planned = {tick: c.frame for tick, c in line.plan(complete=5, urgent=0.0, until=10.0)}
    heard = {}
    for tick in range(12):
        taken = line.take()
        if taken is not None:
            heard[tick] = taken.frame
    assert heard == planned


def test_what_lacks_its_look_ahead_waits_until_it_is_urgent() -> None:
    line = playout()
    line.add(chunk(0), now=0.0)
    assert not list(line.plan(complete=0, urgent=0.05, until=10.0))
    assert [c.frame for _, c in line.plan(complete=0, urgent=1.0, until=10.0)] == [0]


def test_nothing_is_planned_past_the_run_ahead_cap() -> None:
    line = playout()
    for frame in range(50):
        line.add(chunk(frame), now=0.0)
    ticks = [tick for tick, _ in line.plan(complete=50, urgent=0.0, until=0.4)]
    assert ticks
    assert OutputClock(LEAD).time_of(ticks[-1]) <= 0.4 < OutputClock(LEAD).time_of(ticks[-1] + 1)


def test_a_dry_queue_gives_silence_and_speech_starts_anew() -> None:
    line = playout(start_delay=0.11)
    line.add(chunk(0), now=0.0)
    while line.take() is None:
        pass
    assert line.take() is None
    assert [c.frame for _, c in line.overdue()] == [0]
    now = OutputClock(LEAD).time_of(line.next_tick)
    line.add(chunk(1), now=now)
    ((tick, _),) = line.plan(complete=2, urgent=0.0, until=now + 1)
    assert OutputClock(LEAD).time_of(tick) >= now + 0.11


def test_cleared_speech_is_never_heard() -> None:
    line = playout()
    for frame in range(5):
        line.add(chunk(frame), now=0.0)
    list(line.plan(complete=5, urgent=0.0, until=10.0))
    line.clear()
    assert [line.take() for _ in range(20)] == [None] * 20
    assert not list(line.plan(complete=5, urgent=0.0, until=10.0))


def test_a_late_burst_is_worked_off_in_silence_and_speech_is_never_cut() -> None:
    """Ten chunks come at once after a hold-up: latency falls back, and no word is lost."""
    line, sent, heard = playout(start_delay=0.11), [], []
    frame = 0
    for step in range(400):
        arrivals = 11 if step == 50 else 1
        for _ in range(arrivals):
            silent = step % 20 >= 15
            sent.append(frame) if not silent else None
            line.add(chunk(frame, silent=silent), now=step * FRAME_S)
            frame += 1
        taken = line.take()
        if taken is not None and not taken.silent:
            heard.append(taken.frame)
    assert line.trimmed >= 9
    assert len(line) <= 3
    missing = set(sent) - set(heard)
    assert all(f > heard[-1] for f in missing), "only what is still queued may be missing"


@given(
    delay=st.floats(0.0, 0.3),
    arrivals=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    late=st.integers(0, 10),
)
def test_every_chunk_is_heard_once_in_order_on_its_planned_tick(
    delay: float, arrivals: list[int], late: int
) -> None:
    clock = OutputClock(LEAD)
    line = Playout(clock, lead_s=LEAD, start_delay_s=delay)
    frame, planned, heard = 0, {}, {}
    for step, count in enumerate(arrivals + [0] * 80):
        now = step * FRAME_S
        for _ in range(count):
            line.add(chunk(frame), now)
            frame += 1
        complete = max(0, frame - late)
        urgent = now + LEAD + FRAME_S
        for tick, c in line.plan(complete, urgent, until=now + 0.32):
            assert tick not in planned
            planned[tick] = c.frame
        tick = line.next_tick
        taken = line.take()
        if taken is not None:
            heard[tick] = taken.frame
        else:
            for passed, c in line.overdue():
                assert passed not in planned
                planned[passed] = c.frame
    assert list(planned) == sorted(planned), "asked for in the order of showing"
    assert list(heard.values()) == list(range(frame)), "all, once, in order"
    assert heard == {tick: f for tick, f in planned.items() if tick in heard}
    assert set(heard) <= set(planned), "no chunk is shown without its picture asked for"


def test_the_clock_slips_only_later() -> None:
    clock = OutputClock(1.0)
    before = clock.time_of(5)
    clock.slip(0.02)
    assert clock.time_of(5) == pytest.approx(before + 0.02)
    assert clock.tick_at(clock.time_of(7) + 0.001) == 7


def test_an_utterance_that_came_at_once_loses_nothing() -> None:
    line = Playout(OutputClock(LEAD), lead_s=LEAD, start_delay_s=LEAD, live=False)
    for frame in range(100):
        line.add(chunk(frame, silent=frame % 2 == 0), now=0.0)
    heard = [taken.frame for _ in range(120) if (taken := line.take()) is not None]
    for frame in range(100, 110):
        line.add(chunk(frame, silent=True), now=120 * FRAME_S)
    heard += [taken.frame for _ in range(20) if (taken := line.take()) is not None]
    assert heard == list(range(110))
