"""Threads that go first: they alone, only while they are meant to, and only where permitted."""

import os
import threading

import pytest

from engine.core.priority import DEVICE, LOOP, THREADS, going_along, going_first


def policy() -> int:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def test_a_thread_goes_first_and_those_it_starts_do_not() -> None:
    seen: dict[str, int] = {}

    def look(name: str) -> None:
        seen[name] = policy()

    def work() -> None:
        with going_first(DEVICE) as permitted:
            look("inside")
            child = threading.Thread(target=look, args=("child",))
            child.start()
            child.join()
        look("after")
        expected = os.SCHED_RR if permitted else os.SCHED_OTHER
        assert seen == {"inside": expected, "child": os.SCHED_OTHER, "after": os.SCHED_OTHER}
        seen["done"] = True

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen["done"]


def test_where_it_is_not_permitted_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with going_first(DEVICE) as permitted:
        assert not permitted
        assert policy() == os.SCHED_OTHER


def test_threads_of_a_library_go_along_by_their_names() -> None:
    stop = threading.Event()

    def named(name: str) -> threading.Thread:
        thread = threading.Thread(target=stop.wait)
        thread.start()
        (THREADS / str(thread.native_id) / "comm").write_text(name)
        return thread

    carrier, other = named("carries_sound"), named("does_not")

    def policies() -> list[int]:
        return [
            os.sched_getscheduler(thread.native_id or 0) & ~os.SCHED_RESET_ON_FORK
            for thread in (carrier, other)
        ]

    try:
        assert going_along({"carries_sound"}) == 0, "nobody goes along with ordinary work"
        assert policies() == [os.SCHED_OTHER, os.SCHED_OTHER]
        with going_first(LOOP) as permitted:
            assert going_along({"carries_sound"}) == (1 if permitted else 0)
            assert going_along({"carries_sound"}) == 0, "it is there already"
        assert policies() == [os.SCHED_RR if permitted else os.SCHED_OTHER, os.SCHED_OTHER]
    finally:
        stop.set()
        carrier.join()
        other.join()
