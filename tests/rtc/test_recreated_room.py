"""Who comes back to a room that was made anew, and who does not."""

from __future__ import annotations

import pytest

from app.rtc.recreated_room import RecreatedRoomWatch


def checks(watch: RecreatedRoomWatch, people: bool, sid: str | None, *moments: float) -> list[bool]:
    return [watch.abandoned(people, sid, moment) for moment in moments]


@pytest.fixture
def watch() -> RecreatedRoomWatch:
    """One with people in room A until 9 s, whose connection is back at 20 s."""
    watch = RecreatedRoomWatch(30.0)
    assert checks(watch, True, "A", 8.0, 9.0) == [False, False]
    watch.returned(20.0)
    return watch


def test_a_new_room_without_people_is_left_in_the_end(watch: RecreatedRoomWatch) -> None:
    assert checks(watch, False, "B", 21.0, 49.9, 50.0) == [False, False, True]


def test_a_room_whose_sid_comes_late_is_known_by_then(watch: RecreatedRoomWatch) -> None:
    assert checks(watch, False, "A", 21.0, 24.0) == [False, False]
    assert checks(watch, False, "B", 25.0, 50.0) == [False, True]


def test_the_same_room_is_never_left_for_being_empty(watch: RecreatedRoomWatch) -> None:
    assert checks(watch, False, "A", 21.0, 50.0, 500.0) == [False] * 3


def test_a_room_that_nothing_is_known_of_is_not_left(watch: RecreatedRoomWatch) -> None:
    assert checks(watch, False, None, 50.0) == [False]


def test_a_room_whose_sid_is_unknown_for_a_moment_is_checked_again(
    watch: RecreatedRoomWatch,
) -> None:
    assert checks(watch, False, None, 50.0) == [False]
    assert checks(watch, False, "B", 51.0) == [True]


def test_who_comes_back_keeps_the_avatar_and_may_go_again(watch: RecreatedRoomWatch) -> None:
    assert checks(watch, True, "B", 45.0) == [False]
    assert checks(watch, False, "B", 46.0, 50.0, 500.0) == [False] * 3


def test_who_was_alone_before_stays_alone() -> None:
    watch = RecreatedRoomWatch(30.0)
    assert checks(watch, False, "A", 1.0, 2.0) == [False] * 2
    watch.returned(20.0)
    assert checks(watch, False, "B", 21.0, 50.0) == [False] * 2


def test_people_who_had_left_before_the_break_are_not_awaited() -> None:
    watch = RecreatedRoomWatch(30.0)
    assert checks(watch, True, "A", 1.0) + checks(watch, False, "A", 9.0) == [False] * 2
    watch.returned(20.0)
    assert checks(watch, False, "B", 21.0, 50.0) == [False] * 2


def test_another_break_does_not_begin_the_wait_anew(watch: RecreatedRoomWatch) -> None:
    assert checks(watch, False, "B", 21.0) == [False]
    watch.returned(40.0)
    assert checks(watch, False, "C", 49.0, 50.0) == [False, True]
