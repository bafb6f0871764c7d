"""Who comes back to a room that was made anew, and who does not."""

from __future__ import annotations

import pytest

from app.rtc.company import Company


def looks(company: Company, people: bool, sid: str | None, *moments: float) -> list[bool]:
    return [company.abandoned(people, sid, moment) for moment in moments]


@pytest.fixture
def company() -> Company:
    """One with people in room A until 9 s, whose connection is back at 20 s."""
    company = Company(30.0)
    assert looks(company, True, "A", 8.0, 9.0) == [False, False]
    company.returned(20.0)
    return company


def test_a_new_room_without_people_is_left_in_the_end(company: Company) -> None:
    assert looks(company, False, "B", 21.0, 49.9, 50.0) == [False, False, True]


def test_a_room_whose_sid_comes_late_is_known_by_then(company: Company) -> None:
    assert looks(company, False, "A", 21.0, 24.0) == [False, False]
    assert looks(company, False, "B", 25.0, 50.0) == [False, True]


def test_the_same_room_is_never_left_for_being_empty(company: Company) -> None:
    assert looks(company, False, "A", 21.0, 50.0, 500.0) == [False] * 3


def test_a_room_that_nothing_is_known_of_is_not_left(company: Company) -> None:
    assert looks(company, False, None, 50.0) == [False]


def test_a_room_whose_sid_is_not_known_for_a_moment_is_looked_at_again(company: Company) -> None:
    assert looks(company, False, None, 50.0) == [False]
    assert looks(company, False, "B", 51.0) == [True]


def test_who_comes_back_keeps_the_avatar_and_may_go_again(company: Company) -> None:
    assert looks(company, True, "B", 45.0) == [False]
    assert looks(company, False, "B", 46.0, 50.0, 500.0) == [False] * 3


def test_who_was_alone_before_stays_alone() -> None:
    company = Company(30.0)
    assert looks(company, False, "A", 1.0, 2.0) == [False] * 2
    company.returned(20.0)
    assert looks(company, False, "B", 21.0, 50.0) == [False] * 2


def test_people_who_had_left_before_the_break_are_not_awaited() -> None:
    company = Company(30.0)
    assert looks(company, True, "A", 1.0) + looks(company, False, "A", 9.0) == [False] * 2
    company.returned(20.0)
    assert looks(company, False, "B", 21.0, 50.0) == [False] * 2


def test_another_break_does_not_begin_the_wait_anew(company: Company) -> None:
    assert looks(company, False, "B", 21.0) == [False]
    company.returned(40.0)
    assert looks(company, False, "C", 49.0, 50.0) == [False, True]
