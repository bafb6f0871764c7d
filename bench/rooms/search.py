"""Searches for the largest number of sessions that holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Passes = Callable[[int], Awaitable[bool]]


async def find_max(first: int, passes: Passes) -> int:
    """The largest passing number next to a failing one; 0 when one session already fails.

    Up from `first` by halves, then between the last that passed and the first that failed.
    """
    good, bad, number = 0, None, first
    while bad is None or bad - good > 1:
        if await passes(number):
            good = number
        else:
            bad = number
        number = good + max(1, good // 2) if bad is None else (good + bad) // 2
    return good
