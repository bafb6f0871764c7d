"""Handles SIGTERM and SIGINT until the server does, also as PID 1 of a container.

Imports nothing heavy, because the command calls it before its other imports.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT)
LEAVE_S = 3.0
"""Longest wait for an interrupted startup. Worker threads (a migration, an engine warming up)
cannot be interrupted, and the interpreter would wait for them."""


def obey_as_init() -> None:
    """Exit on SIGTERM like any other process: the kernel ignores it for PID 1 without a handler."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _exit_now)


@contextmanager
def interruptible_start() -> Iterator[None]:
    """In this block a signal cancels the current task; a second one, or LEAVE_S, exits.

    Raises EndedAtStart after the signal.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    asked: list[int] = []
    starting = True

    def end(number: int, frame: FrameType | None) -> None:
        if asked:
            _exit_now(number, frame)
        asked.append(number)
        late = threading.Timer(LEAVE_S, os._exit, (_status(number),))
        late.daemon = True
        late.start()
        loop.call_soon_threadsafe(cancel)

    def cancel() -> None:
        if starting:
            task.cancel()

    if threading.current_thread() is not threading.main_thread():
        yield  # in a test: only the main thread can handle signals
        return
    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        starting = False
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise EndedAtStart(asked[0])


class EndedAtStart(Exception):
    """A signal arrived before the service had started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = _status(number)


def _status(number: int) -> int:
    """The exit code of an interrupted startup: that of a drained service after SIGTERM, and what
    shells expect after Ctrl-C."""
    return 0 if number == signal.SIGTERM else 128 + number


def _exit_now(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
