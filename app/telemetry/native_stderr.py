"""What native code and libraries write to standard error, as lines of our log.

OpenH264, LiveKit's Rust and libraries that print write to file descriptor 2 by themselves: without
a time, with any characters, as often as they like. While this is open, descriptor 2 is a pipe to a
small process that writes each line as one of the log (`stderr_reader.py`). A process and not a
thread: what this one writes last, when it crashes, is read although it is gone, and it is never
held up by a busy interpreter. Our own log goes to the standard error that was there before.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import app
from app.telemetry.logging import Style, chosen_style, configure_logging

END_S = 2.0  # for what was written last
FOLDER = Path(app.__file__).parents[1]  # where this package is found

_before: list[TextIO] = []


@contextmanager
def logged_stderr(style: Style, level: str, process: str = "") -> Iterator[None]:
    """Configure logging, and let nothing but our log reach standard error until left."""
    chosen = chosen_style(style)
    with contextlib.ExitStack() as exits:
        real = exits.enter_context(os.fdopen(os.dup(2), "w", buffering=1, errors="replace"))
        reader = _start(real, chosen, process)
        if reader is None:  # there may be no process or file left; the log itself needs none
            configure_logging(chosen, level)
            yield
            return
        configure_logging(chosen, level, real)
        _before.append(real)
        try:
            yield
        finally:
            _before.pop()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(real.fileno(), 2)  # the last that this process holds of the pipe
            with contextlib.suppress(subprocess.TimeoutExpired):
                reader.wait(END_S)
            configure_logging(chosen, level)


def stderr_for_children() -> TextIO | None:
    """For a process of ours that writes a log of its own; None: what it inherits is right."""
    return _before[-1] if _before else None


def _start(real: TextIO, style: str, process: str) -> subprocess.Popen[bytes] | None:
    """The reader, with our descriptor 2 at the other end of its standard input."""
    read, write = os.pipe()
    command = [sys.executable, "-P", "-S", "-m", "app.telemetry.stderr_reader", style, process]
    try:
        reader = subprocess.Popen(
            command,
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=real,
            start_new_session=True,  # Ctrl-C ends the service; this ends with what it reads
            env={**os.environ, "PYTHONPATH": str(FOLDER)},
        )
        os.dup2(write, 2)
    except OSError:
        return None
    finally:
        os.close(read)
        os.close(write)
    return reader
