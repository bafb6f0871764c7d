"""Background tasks that must not end while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def repeat(what: str, every_s: float, step: Callable[[], Awaitable[None]]) -> None:
    """Runs `step` periodically until cancelled; logs its errors and continues.

    Args:
        what: for the log: "housekeeping", "the watch over session hosts".
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            await step()
        except Exception:
            log.exception("a background task failed; it will run again", task=what)


class BackgroundTasks:
    """Tasks of one owner, which cancels them when it closes. Failures are logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)
