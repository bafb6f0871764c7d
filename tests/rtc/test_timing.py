"""The numbers of /sessions/{id}/stats."""

from app.rtc.timing import Timing


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
    assert timing.body(now=40.0)["fps"] is None


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
