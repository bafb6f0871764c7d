"""To wait for what comes to pass in rooms and other processes, however slow the machine is."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from bench.clients.speaker import RoomSpeaker

PATIENCE_S = 30.0  # only what never happens takes so long


async def until(reached: Callable[[], bool | Awaitable[bool]], pause_s: float = 0.05) -> None:
    """Look again and again. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = reached()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            await asyncio.sleep(pause_s)


@asynccontextmanager
async def speaking(speaker: RoomSpeaker, pcm: NDArray[np.int16]) -> AsyncIterator[None]:
    """It says the same over and over until the block is left, then to its end."""
    over = False

    async def speak() -> None:
        while not over:
            await speaker.say(pcm)

    task = asyncio.create_task(speak())
    try:
        yield
    finally:
        over = True
        await task
