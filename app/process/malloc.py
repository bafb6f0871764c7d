"""How the C library hands out memory to a process of many short-lived threads."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

ARENAS = 4
_M_ARENA_MAX = -8  # of malloc.h


def share_arenas() -> None:
    """Let all threads allocate from few arenas, unless MALLOC_ARENA_MAX says how many.

    A room brings threads of its own, and glibc gives new threads new arenas, up to eight a
    processor; what one frees in its arena another does not use: docs/agents.md has the numbers.
    To be called before the threads are started. On anything but glibc nothing happens.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
