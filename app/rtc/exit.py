"""Ends a process that has used LiveKit, without finalising the interpreter.

LiveKit's library calls back from its own threads. `livekit_ffi_dispose`, which its package runs at
exit, prevents new calls but does not wait for running ones. A thread that then waits for an
interpreter in finalisation is terminated by it (before Python 3.14), and Rust answers by aborting
the process: exit code 134 after a clean run. So this module runs the exit handlers and then leaves
before the interpreter is finalised.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable

INTERRUPTED = 130  # as shells report a process ended by Ctrl-C
UNWRITTEN = 120  # Python's own exit code when the last of its output could not be written


def ended_by(main: Callable[[], object]) -> None:
    """Run a process's main function; its exit code and traceback stay as usual."""
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        at_exit(lambda: status)
        raise
    except BaseException as end:
        status = INTERRUPTED if isinstance(end, KeyboardInterrupt) else 1
        at_exit(lambda: status)
        raise
    at_exit(lambda: 0)


def at_exit(status: Callable[[], int]) -> None:
    """End this process with that code when it exits. Call this last: handlers registered with
    atexit later run earlier."""

    def leave() -> None:
        if not _called_back():
            return
        atexit.unregister(leave)
        atexit._run_exitfuncs()
        os._exit(status() if _written() else UNWRITTEN)

    atexit.register(leave)


def _called_back() -> bool:
    """Whether LiveKit's library was started and not only imported."""
    if "livekit.rtc" not in sys.modules:
        return False
    from app.rtc.sdk.livekit_private import library_started

    return library_started()


def _written() -> bool:
    """Whether all output was flushed; reports a failure as Python does."""
    good = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError as error:
            good = False
            if stream is sys.stdout:
                with contextlib.suppress(OSError):
                    print(f"The last output could not be written: {error}.", file=sys.stderr)  # noqa: T201
    return good
