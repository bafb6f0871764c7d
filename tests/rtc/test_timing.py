"""The numbers of /sessions/{id}/stats."""

import pytest

from app.rtc.output.timing import Timing


def test_a_window_of_ten_seconds() -> None:
    timing = Timing()
    for n in range(500):
        due = n * 0.04
        timing.shown(due + 0.002, due, fresh=n % 10 != 0)
    timing.dropped(19.9, 3)
    body = timing.body(now=20.0)
    assert body["fps"] == 25.0
    assert body["lateness_ms"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert body["av_offset_ms"] == 2.0
    assert body["repeated_frames"] == 25
    assert body["dropped_frames"] == 3
    assert timing.body(now=40.0)["fps"] == 0.0


def test_nothing_yet_is_none_and_not_zero() -> None:
    body = Timing().body(now=0.0)
    assert body["fps"] is None
    assert body["lateness_ms"] == {"p50": None, "p95": None, "p99": None}
    assert body["turn_start_ms"] == {"p50": None, "p95": None, "count": 0}
    assert body["segments"] == {"started": 0, "finished": 0, "interrupted": 0}


def test_turns_and_interruptions_are_of_the_whole_session() -> None:
    timing = Timing()
    for seconds in (0.1, 0.2, 0.3):
        timing.turn_started(seconds)
    timing.interrupted(0.05)
    body = timing.body(now=1000.0)
    assert body["turn_start_ms"]["p50"] == 200.0
    assert body["turn_start_ms"]["count"] == 3
    assert body["interrupt_ms"] == {"p50": 50.0, "p95": 50.0, "count": 1}


def test_a_standstill_counts_while_it_lasts() -> None:
    timing = Timing()
    for n in range(251):
        timing.shown(n * 0.04, n * 0.04, fresh=True)
    assert timing.body(now=10.03)["fps"] == 25.0
    assert timing.body(now=15.0)["fps"] == pytest.approx(12.5, abs=0.1)
    assert timing.body(now=40.0)["fps"] == 0.0


def test_the_final_values_are_those_of_the_end() -> None:
    timing = Timing()
    for n in range(251):
        timing.shown(n * 0.04, n * 0.04, fresh=True)
    timing.end(10.0)
    timing.shown(13.0, 10.04, fresh=False)  # while it leaves its room
    timing.dropped(13.0, 70)
    assert timing.body(now=13.0) == timing.body(now=99.0)
    assert timing.body(now=99.0)["fps"] == 25.0
    assert timing.body(now=99.0)["repeated_frames"] == 0


def test_what_the_stats_say_is_what_is_observed() -> None:
    timing = Timing()
    for at, fresh in ((1.0, True), (1.04, True), (1.15, False), (1.19, True)):
        timing.shown(at, at - 0.003, fresh=fresh)
    timing.dropped(1.15, 2)
    timing.turn_started(0.2)
    timing.interrupted(0.004)
    timing.first_frame(0.3)
    timing.ready(0.31)
    body, observed = timing.body(now=1.2), timing.observed
    names = ("turn_start", "interrupt", "first_frame", "join", "av_offset", "picture_lateness")
    sums = {name: sum(observed.histogram(name).counts) for name in names}
    assert sums == {**dict.fromkeys(names, 1), "av_offset": 3, "picture_lateness": 4}
    assert observed.histogram("picture_gap").counts == [2, 0, 0, 1, 0, 0, 0, 0, 0]
    assert observed.counters["pictures_dropped"] == body["dropped_frames"] == 2
    assert observed.counters["pictures_repeated"] == body["repeated_frames"] == 1


def test_the_count_goes_on_beyond_what_quantiles_are_made_of() -> None:
    timing = Timing()
    for _ in range(1200):
        timing.turn_started(0.1)
    assert timing.body(now=1.0)["turn_start_ms"] == {"p50": 100.0, "p95": 100.0, "count": 1200}


def test_what_is_captured_outside_the_room_does_not_count() -> None:
    timing = Timing()
    timing.present(False)
    timing.shown(0.5, 0.4, fresh=False)
    timing.dropped(0.5, 3)
    assert timing.body(now=0.6)["fps"] is None
    timing.present(True)
    for n in range(26):
        timing.shown(1 + n * 0.04, 1 + n * 0.04, fresh=True)
    timing.present(False)
    for n in range(26, 51):
        timing.shown(1 + n * 0.04, 1 + n * 0.04, fresh=True)
    body = timing.body(now=3.04)
    assert body["fps"] == 12.5
    assert (body["repeated_frames"], body["dropped_frames"]) == (0, 0)
