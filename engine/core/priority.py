"""Threads that keep time go before ordinary work, where the system permits it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOP, MEDIA, DEVICE = 3, 2, 1
"""Of SCHED_RR: the loop that keeps the clock goes before the threads that carry what it hands over,
these before the thread that paints."""

THREADS = Path("/proc/self/task")  # of this process; Linux alone has it


@contextmanager
def going_first(priority: int) -> Iterator[bool]:
    """Run this thread, not those that it starts, in the real-time class; False where that can't be.

    libwebrtc puts its encoders there by itself where it may (as root, or with RLIMIT_RTPRIO). They
    would go before the loop that feeds them: a busy machine then drops pictures with time to spare.
    """
    if not hasattr(os, "SCHED_RESET_ON_FORK"):
        yield False
        return
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def going_along(names: Collection[str]) -> int:
    """Take threads of these names into the real-time class if this thread is there; how many went.

    For threads that a library starts: they begin among ordinary work. Linux cuts names to 15 bytes.
    """
    if not THREADS.is_dir() or _is_ordinary(0):
        return 0
    taken = 0
    for thread in THREADS.iterdir():
        # A thread may end at any time.
        with suppress(OSError):
            number = int(thread.name)
            if (thread / "comm").read_text().strip() in names and _is_ordinary(number):
                policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(number, policy, os.sched_param(MEDIA))
                taken += 1
    return taken


def _is_ordinary(thread: int) -> bool:
    return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
