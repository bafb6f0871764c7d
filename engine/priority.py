"""Threads that keep time go before ordinary work, where the system permits it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LOOP, DEVICE = 2, 1
"""Of SCHED_RR: the loop that keeps the clock goes before the thread that paints for it."""


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
