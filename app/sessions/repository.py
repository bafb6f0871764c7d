"""Every query about sessions. Runs in the caller's transaction and commits nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.columns import now
from app.db.tables import SessionEventRow, SessionRow
from app.errors import ValidationFailed
from app.session_types import EndReason, State
from app.sessions.state import LIVE, sources


class SessionRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, row: SessionRow) -> None:
        """Insert a row; raises IntegrityError if its key is already live."""
        self._session.add(row)
        await self._session.flush()
        self._log(row.id, None, State(row.state), row.created_at, None, "")

    async def get(self, session_id: str) -> SessionRow | None:
        if not storable(session_id):
            return None
        return await self._session.get(SessionRow, session_id)

    async def live_on(self, livekit_url: str, room: str, identity: str) -> SessionRow | None:
        """The live session that holds an avatar's key, if any."""
        found = await self._session.scalars(
            select(SessionRow).where(
                SessionRow.livekit_url == livekit_url,
                SessionRow.room == room,
                SessionRow.identity == identity,
                SessionRow.state.in_(LIVE),
            )
        )
        return found.first()

    async def live_in(self, livekit_url: str, room: str) -> Sequence[SessionRow]:
        """All live sessions in a room."""
        found = await self._session.scalars(
            select(SessionRow).where(
                SessionRow.livekit_url == livekit_url,
                SessionRow.room == room,
                SessionRow.state.in_(LIVE),
            )
        )
        return found.all()

    async def page(
        self, state: State | None, limit: int, cursor: str | None
    ) -> tuple[Sequence[SessionRow], str | None]:
        """Rows, newest first, and the cursor of the next page."""
        query = select(SessionRow).order_by(SessionRow.created_at.desc(), SessionRow.id.desc())
        if state is not None:
            query = query.where(SessionRow.state == state)
        if cursor is not None:
            after = tuple_(SessionRow.created_at, SessionRow.id)
            query = query.where(after < tuple_(*parse_cursor(cursor)))
        rows = (await self._session.scalars(query.limit(limit + 1))).all()
        more = len(rows) > limit
        return rows[:limit], _cursor(rows[limit - 1]) if more else None

    async def move(
        self,
        session_id: str,
        target: State,
        *,
        reason: str | None = None,
        detail: str = "",
        **values: Any,
    ) -> bool:
        """Compare-and-set to `target`, with its event; False if the move is no longer legal."""
        if not storable(session_id):
            return False
        state = await self._session.scalar(
            select(SessionRow.state).where(SessionRow.id == session_id).with_for_update()
        )
        changed = await self._session.execute(
            update(SessionRow)
            .where(SessionRow.id == session_id, SessionRow.state.in_(sources(target)))
            .values(state=target, **values)
            .returning(SessionRow.id)
        )
        if changed.first() is None or state is None:
            return False
        self._log(session_id, State(state), target, now(), reason, detail)
        return True

    async def of_instances(
        self, instances: Iterable[str], states: Iterable[State] = LIVE
    ) -> Sequence[str]:
        """Ids of these instances' sessions that are in these states."""
        found = await self._session.scalars(
            select(SessionRow.id).where(
                SessionRow.instance_id.in_(list(instances)), SessionRow.state.in_(list(states))
            )
        )
        return found.all()

    async def asked_to_end(self, instance: str) -> dict[str, EndReason]:
        """Sessions of an instance that any process asked to end, and why."""
        found = await self._session.execute(
            select(SessionRow.id, SessionEventRow.reason)
            .join(SessionEventRow, SessionEventRow.session_id == SessionRow.id)
            .where(
                SessionRow.instance_id == instance,
                SessionRow.state == State.ENDING,
                SessionEventRow.to_state == State.ENDING,
            )
        )
        return {id: EndReason(reason or EndReason.DELETED) for id, reason in found}

    async def count_live(self) -> dict[State, int]:
        found = await self._session.execute(
            select(SessionRow.state, func.count())
            .where(SessionRow.state.in_(LIVE))
            .group_by(SessionRow.state)
        )
        counted = {State(state): count for state, count in found}
        return {state: counted.get(state, 0) for state in LIVE}

    def _log(
        self,
        session_id: str,
        before: State | None,
        after: State,
        at: datetime,
        reason: str | None,
        detail: str,
    ) -> None:
        self._session.add(
            SessionEventRow(
                session_id=session_id,
                at=at,
                from_state=before,
                to_state=after,
                reason=reason,
                detail=detail,
            )
        )


def _cursor(row: SessionRow) -> str:
    place = json.dumps([row.created_at.isoformat(), row.id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def parse_cursor(cursor: str) -> tuple[datetime, str]:
    """The position after which a page starts. Rejects cursors that callers made up."""
    try:
        at, session_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not isinstance(session_id, str) or not storable(session_id):
            raise ValueError
        # Only in UTC do moments near the first or last year fit both databases.
        return moment.astimezone(UTC), session_id
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValidationFailed("`cursor` does not come from a list of sessions.") from error


def storable(text: str) -> bool:
    """Whether both databases can store `text`: Postgres rejects NUL, both reject surrogates."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
