"""How long an avatar may be by itself. The clock is an argument."""

from __future__ import annotations

import pytest

from app.rtc.empty_room import EmptyRoomWatch


@pytest.fixture
def watch() -> EmptyRoomWatch:
    watch = EmptyRoomWatch(30.0)
    watch.connected(100.0)
    return watch


def test_nobody_comes(watch: EmptyRoomWatch) -> None:
    assert [watch.deserted(False, now) for now in (101.0, 129.0, 130.0)] == [False, False, True]


def test_who_comes_begins_the_wait_anew(watch: EmptyRoomWatch) -> None:
    assert not watch.deserted(False, 129.0)
    assert not watch.deserted(True, 130.0)
    looks = [watch.deserted(False, now) for now in (131.0, 160.0, 161.0)]
    assert looks == [False, False, True]


def test_time_without_a_connection_does_not_count(watch: EmptyRoomWatch) -> None:
    assert not watch.deserted(False, 120.0)
    watch.connected(180.0)  # lost since 120
    assert [watch.deserted(False, now) for now in (189.0, 190.0)] == [False, True]
