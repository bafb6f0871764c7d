"""Accounts of playback: exactly one end a segment, and positions that are true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rtc.output.playback_ledger import Finished, Ledger, Started
from engine.core.types import FRAME_S
from tests.about import about


def test_a_segment_heard_to_its_end() -> None:
    ledger = Ledger()
    number = ledger.begin()
    ledger.pushed(0.1)
    ledger.end()
    for n in range(3):
        ledger.handed(number, 10.0 + n * FRAME_S)
    assert ledger.due(9.99) == []
    assert ledger.due(10.0) == [Started(1)]
    assert ledger.due(10.099) == []
    (finished,) = ledger.due(10.1)
    assert finished == Finished(1, about(0.1), interrupted=False)
    assert ledger.open == 0


def test_an_interruption_tells_what_was_heard_and_not_what_was_handed_out() -> None:
    ledger = Ledger()
    number = ledger.begin()
    ledger.pushed(10.0)
    for n in range(27):
        ledger.handed(number, 5.0 + n * FRAME_S)
    events = ledger.interrupt(6.0)
    assert events == [Started(1), Finished(1, about(1.0), interrupted=True)]
    assert ledger.due(100.0) == []


def test_a_pause_between_two_pieces_is_not_part_of_what_was_heard() -> None:
    ledger = Ledger()
    number = ledger.begin()
    ledger.pushed(10.0)
    ledger.handed(number, 5.0)
    ledger.handed(number, 5.0 + FRAME_S)
    ledger.handed(number, 6.0)  # the loop was held up
    for now in (5.03, 5.5, 5.95):
        ledger.due(now)
    assert ledger.interrupt(5.99) == [Finished(1, about(2 * FRAME_S), interrupted=True)]


def test_a_segment_that_was_never_heard_still_ends() -> None:
    ledger = Ledger()
    ledger.begin()
    ledger.pushed(1.0)
    ledger.end()
    ledger.begin()
    assert ledger.interrupt(1.0) == [Finished(1, 0.0, True), Finished(2, 0.0, True)]


def test_an_empty_segment_ends_at_once() -> None:
    ledger = Ledger()
    ledger.begin()
    ledger.end()
    assert ledger.due(0.0) == [Finished(1, 0.0, interrupted=False)]


def test_a_late_trailer_ends_a_segment_that_has_long_been_heard() -> None:
    ledger = Ledger()
    number = ledger.begin()
    ledger.pushed(FRAME_S)
    ledger.handed(number, 0.0)
    assert ledger.due(1.0) == [Started(1)]
    ledger.end()
    assert ledger.due(1.0) == [Finished(1, FRAME_S, interrupted=False)]


@given(
    lengths=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8),
    cut=st.floats(0.0, 6.0),
)
def test_every_segment_ends_once_in_order_and_positions_never_exceed_lengths(
    lengths: list[float], cut: float
) -> None:
    ledger, events, now = Ledger(), [], 0.0
    for length in lengths:
        number = ledger.begin()
        ledger.pushed(length)
        ledger.end()
        left = length
        while left > 1e-9 and now < cut:
            ledger.handed(number, now)
            now += FRAME_S
            left -= FRAME_S
            events += ledger.due(min(now, cut))
    events += ledger.interrupt(cut)
    ends = [e for e in events if isinstance(e, Finished)]
    assert [e.segment for e in ends] == list(range(1, len(lengths) + 1))
    for end, length in zip(ends, lengths, strict=True):
        assert -1e-9 <= end.position_s <= length + 1e-9
        assert end.interrupted or end.position_s == pytest.approx(length, abs=1e-6)


def test_a_lost_end_is_played_out_and_told_as_interrupted() -> None:
    ledger = Ledger()
    number = ledger.begin()
    ledger.pushed(0.06)
    ledger.end(lost=True)
    ledger.handed(number, 1.0)
    ledger.handed(number, 1.04)
    assert ledger.due(1.05) == [Started(number)]
    assert ledger.due(1.2) == [Finished(number, about(0.06), interrupted=True)]


def test_what_waits_is_what_came_in_and_has_not_gone_out() -> None:
    ledger = Ledger()
    number = ledger.begin()
    ledger.pushed(1.0)
    ledger.handed(number, 5.0)
    assert ledger.waiting_s() == pytest.approx(0.96)
