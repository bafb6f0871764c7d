"""Limits glibc's arenas, which many short-lived threads would otherwise multiply."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

ARENAS = 4
_M_ARENA_MAX = -8  # from malloc.h


def share_arenas() -> None:
    """Let all threads share a few arenas, unless MALLOC_ARENA_MAX sets their number.

    Each room starts threads, and glibc gives new threads new arenas, up to eight per processor;
    memory freed in one arena is not used by another (docs/lab/memory.md, "What a long-lived process
    keeps"). Call this before threads start. It does nothing without glibc.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
