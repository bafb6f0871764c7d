"""How a process ends that has been in LiveKit rooms: without taking the interpreter apart.

LiveKit's library calls back from threads of its own. `livekit_ffi_dispose`, which its package has
atexit call, lets no new call begin, but does not wait for those under way. A thread that then waits
for an interpreter which is being taken apart is ended by it (before Python 3.14), and Rust answers
by aborting the whole process: exit code 134, after all went well. So what is to run at exit runs,
and the process is gone before that.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable

INTERRUPTED = 130  # as a shell has it of a process that Ctrl-C ended
UNWRITTEN = 120  # Python's own exit code when the last of its output could not be written


def ended_by(main: Callable[[], object]) -> None:
    """Run what a process is for. Its exit code and its traceback are as ever."""
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
    """End this process with that code when it exits. To be called last: what is registered with
    atexit later runs before it."""

    def leave() -> None:
        if not _called_back():
            return
        atexit.unregister(leave)
        atexit._run_exitfuncs()
        os._exit(status() if _written() else UNWRITTEN)

    atexit.register(leave)


def _called_back() -> bool:
    """Whether LiveKit's library was started, not only imported."""
    if "livekit.rtc" not in sys.modules:
        return False
    from app.rtc.sdk.livekit_private import library_started

    return library_started()


def _written() -> bool:
    """Whether all output went out; says so where it did not, as Python does."""
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
