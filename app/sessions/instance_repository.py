"""Every query about the processes that share the database. Commits nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.columns import now
from app.db.tables import InstanceRow, SessionRow
from app.sessions.state import LIVE


class InstanceRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, row: InstanceRow) -> None:
        self._session.add(row)

    async def beat(self, instance: str) -> None:
        """Record that an instance is alive now."""
        await self._set(instance, heartbeat_at=now())

    async def stop(self, instance: str) -> None:
        """Record that an instance has left."""
        await self._set(instance, stopped_at=now())

    async def others_with_sessions(self, instance: str) -> Sequence[InstanceRow]:
        """All other instances that own live sessions."""
        owners = select(SessionRow.instance_id).where(SessionRow.state.in_(LIVE))
        found = await self._session.scalars(
            select(InstanceRow).where(InstanceRow.id.in_(owners), InstanceRow.id != instance)
        )
        return found.all()

    async def _set(self, instance: str, **values: Any) -> None:
        await self._session.execute(
            update(InstanceRow).where(InstanceRow.id == instance).values(**values)
        )
