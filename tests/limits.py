"""Takes from a process what the system can run out of."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """A process may open no file that it has not open now, as at the limit of its descriptors."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # A new file gets the lowest free number.
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (_lowest_free(pid), hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _lowest_free(pid: int) -> int:
    taken = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(max(taken) + 2) if number not in taken)
