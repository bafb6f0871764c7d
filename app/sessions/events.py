"""Records session events and notifies those who wait for them."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import structlog

from app.db.columns import now
from app.db.database import Database
from app.session_types import Outcome, State
from app.sessions.repository import SessionRepository
from app.telemetry.prometheus import Metrics

log = structlog.get_logger(__name__)


class SessionEvents:
    """A `Reporter`; each call is one transaction."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self.changed = asyncio.Event()  # set at the next transition, then replaced

    async def ready(self, session_id: str, at: datetime) -> None:
        async with self._database.write() as session:
            moved = await SessionRepository(session).move(session_id, State.READY, ready_at=at)
        log.info("session ready", session_id=session_id, recorded=moved)
        self.notify()

    async def finished(
        self,
        session_id: str,
        outcome: Outcome,
        stats: dict[str, Any] | None,
        at: datetime | None = None,
    ) -> None:
        """`at`: when the session ended, if that was before now."""
        failed = outcome.state is State.FAILED
        async with self._database.write() as session:
            moved = await SessionRepository(session).move(
                session_id,
                outcome.state,
                reason=outcome.reason,
                detail=outcome.detail,
                ended_at=at or now(),
                end_reason=outcome.reason,
                error_code=outcome.reason if failed else None,
                error_detail=outcome.detail if failed else None,
                stats=stats,
            )
        if moved:
            self._metrics.ended.labels(outcome.state, outcome.reason).inc()
        self.notify()

    def observed(self, observations: dict[str, Any]) -> None:
        """Add the observations of sessions since the last call."""
        self._metrics.observed.merge(observations)

    def notify(self) -> None:
        """Wake everything that waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()
