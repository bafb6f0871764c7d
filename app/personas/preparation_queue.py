"""Orders preparations: one at a time and callers in turn, so that no caller has to wait long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.core.engine_errors import PoolFull

MOST, MOST_EACH = 32, 8  # waiting preparations: in all, and per caller


class PreparationQueue:
    """A lock whose waiters are served round-robin by caller, in order within each caller."""

    def __init__(self, most: int = MOST, most_each: int = MOST_EACH) -> None:
        self._most, self._most_each = most, most_each
        self._busy = False
        self._served = ""  # the caller whose turn it is, or was last
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by caller, in turn

    @asynccontextmanager
    async def of(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises PoolFull if too many are waiting."""
        if self._busy:
            await self._wait(caller)
        self._busy, self._served = True, caller
        try:
            yield
        finally:
            self._release()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def _wait(self, caller: str) -> None:
        if len(self) >= self._most or len(self._waiting.get(caller, ())) >= self._most_each:
            raise PoolFull(
                "Too many personas and sizes wait to be prepared; try again when some are ready."
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # the turn had just been granted
            else:
                self._forget(caller, turn)
            raise

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[caller]

    def _release(self) -> None:
        """Grant the next caller's first waiter a turn; that caller goes to the end."""
        while self._waiting:
            others = (each for each in self._waiting if each != self._served)
            caller = next(others, self._served)
            queue = self._waiting.pop(caller)
            turn = queue.popleft()
            if queue:
                self._waiting[caller] = queue
            if not turn.done():
                turn.set_result(None)  # `_busy` stays True, so nothing gets in between
                return
        self._busy = False
