"""Real-time priority for threads that keep time, where the system permits it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOOP, MEDIA, DEVICE = 3, 2, 1
"""SCHED_RR priorities: the loop that keeps the clock runs before the threads that carry its media,
and these run before the thread that paints."""

THREADS = Path("/proc/self/task")  # of this process; exists on Linux only


@contextmanager
def going_first(priority: int) -> Iterator[bool]:
    """Runs this thread, but not its children, in the real-time class; False if not permitted.

    libwebrtc puts its encoders there whenever it may (as root, or with RLIMIT_RTPRIO). They would
    then preempt the loop that feeds them, and a busy machine drops pictures with time to spare.
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
    """Moves threads of these names into the real-time class if this thread is in it; their count.

    For threads that a library starts with normal priority. Linux cuts names to 15 bytes.
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
