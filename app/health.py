"""Whether the process does its work, and whether it may be sent more."""

from __future__ import annotations

import asyncio
import time

from app.db.database import Database
from app.errors import Unhealthy
from app.sessions.instances import Instance
from app.sessions.registry import Engine

BEAT_LIMIT_S = 2.0  # contract.md, Starting it
DATABASE_LIMIT_S = 10.0
ASK_S = 3.0


class Health:
    def __init__(self, database: Database, engine: Engine, instance: Instance) -> None:
        self._database = database
        self._engine = engine
        self._instance = instance

    def require_health(self) -> None:
        """Raises Unhealthy with what is wrong. That it runs at all shows the loop turning."""
        if (fault := self._engine.fault) is not None:
            raise Unhealthy(fault)
        if (silent := self._engine.beat_age_s()) >= BEAT_LIMIT_S:
            raise Unhealthy(f"The engine's thread has not moved for {silent:.1f} s.")
        silent = time.monotonic() - self._database.answered_at
        if silent >= DATABASE_LIMIT_S:
            raise Unhealthy(f"The database has not answered for {silent:.0f} s.")

    async def require_readiness(self) -> None:
        """Raises Unhealthy or Draining unless a session can be begun now."""
        self.require_health()
        if (reason := self._engine.no_worker) is not None:
            raise Unhealthy(reason)
        if not self._instance.settled:
            raise Unhealthy("Sessions that another process may have left are still looked into.")
        try:
            async with asyncio.timeout(ASK_S):
                await self._database.ping()
        except TimeoutError:
            raise Unhealthy("The database does not answer.") from None
