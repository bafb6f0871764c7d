"""How many file descriptors this process may open, and the share that connections get."""

from __future__ import annotations

import contextlib
import resource

WANTED = 65_536
FEWEST, MOST = 32, 1024  # connections


def raise_descriptor_limit() -> None:
    """Raise the soft limit as far as the process may without privileges.

    A shell's soft limit of 1,024 suits programs that use select(); one session alone takes up to 45
    descriptors while it joins (measured with livekit 1.2.1).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft


def connections_within(descriptors: int) -> int:
    """A quarter; the rest is for sessions, the database and files."""
    return max(FEWEST, min(descriptors // 4, MOST))
