"""Rows of sessions, also while the database does not answer.

What runs in this process is known to it: such a session can be read, and asked to end, all the
same. What happened to it is written down when the database is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError

from app.db.database import Database
from app.db.tables import SessionRow
from app.errors import RoomConflict, SessionNotFound, Unhealthy
from app.process.background import BackgroundTasks
from app.session_types import EndReason, FailureCode, Outcome, State
from app.sessions.events import SessionEvents
from app.sessions.locks import Key
from app.sessions.registry import REPORT_AGAIN_S, Registry
from app.sessions.repository import SessionRepository
from app.sessions.schemas import Listing

log = structlog.get_logger(__name__)

PATIENCE_S = 2.0  # with a database that may not answer, where we know the answer ourselves
DOUBT_S = 5.0  # for which it is asked whether a row was written, when the answer was lost
LATE_S = 30.0  # after which nothing that it was told before is still under way
UNKNOWN = "There is no session of that id."
UNTOLD = Outcome(
    FailureCode.INTERNAL, "The database went away while the session was made; nobody was told."
)


class SessionStore:
    def __init__(self, database: Database, registry: Registry, reports: SessionEvents) -> None:
        self._database = database
        self._registry = registry
        self._reports = reports
        self._background = BackgroundTasks()

    async def aclose(self) -> None:
        await self._background.aclose()

    async def insert(self, row: SessionRow) -> SessionRow:
        """The row as it was written. Raises RoomConflict; Unhealthy where nothing was written.

        An answer that is lost on its way leaves open whether it was: the id, which is ours, tells.
        """
        committing = False
        try:
            async with self._database.write() as session:
                await SessionRepository(session).add(row)
                await session.flush()
                committing = True
            return row
        except IntegrityError as error:
            raise conflict(row.identity, row.room) from error
        except Unhealthy:
            if not committing:
                raise
            if (written := await self._written(row.id)) is None:
                self.close_row(row.id, UNTOLD, after_s=LATE_S)
                raise
            log.warning("the answer to a commit was lost; the row is there", session_id=row.id)
            return written

    async def get(self, session_id: str) -> SessionRow:
        """From the database, else as this process knows it. Raises SessionNotFound, Unhealthy."""
        return await self._or_known(session_id, self._read(session_id))

    async def mark_ending(self, session_id: str, reason: EndReason) -> SessionRow:
        """The row, in `ending` or at its end; raises as `get` does."""
        return await self._or_known(session_id, self._move_to_ending(session_id, reason))

    async def holder(self, key: Key) -> SessionRow | None:
        """The live session that holds an avatar's key."""
        async with self._database.read() as session:
            return await SessionRepository(session).live_on(*key)

    async def live_in(self, livekit_url: str, room: str) -> Sequence[SessionRow]:
        """All sessions that are live in a room."""
        async with self._database.read() as session:
            return await SessionRepository(session).live_in(livekit_url, room)

    async def page(self, wanted: Listing) -> tuple[Sequence[SessionRow], str | None]:
        async with self._database.read() as session:
            repository = SessionRepository(session)
            return await repository.page(wanted.state, wanted.limit, wanted.cursor)

    def close_row(self, session_id: str, outcome: Outcome, *, after_s: float = 0.0) -> None:
        """End a row that no task of ours stands behind, as soon as the database takes it."""

        async def close() -> None:
            await asyncio.sleep(after_s)
            while True:
                try:
                    return await self._reports.finished(session_id, outcome, {})
                except Unhealthy:
                    await asyncio.sleep(REPORT_AGAIN_S)

        self._background.start(close())

    async def _or_known(
        self, session_id: str, asked: Coroutine[Any, Any, SessionRow | None]
    ) -> SessionRow:
        if self._registry.known(session_id) is None:
            return _found(await asked)
        task = asyncio.create_task(asked)
        await asyncio.wait({task}, timeout=PATIENCE_S)
        # It may have ended meanwhile, and be known to the database alone.
        known = self._registry.known(session_id)
        if known is None:
            return _found(await task)
        if not task.done():
            task.add_done_callback(_heard)  # what it still does is right, if late
            return known
        if isinstance(task.exception(), Unhealthy):
            return known
        return _found(task.result())

    async def _read(self, session_id: str) -> SessionRow | None:
        async with self._database.read() as session:
            return await SessionRepository(session).get(session_id)

    async def _move_to_ending(self, session_id: str, reason: EndReason) -> SessionRow | None:
        async with self._database.write() as session:
            repository = SessionRepository(session)
            await repository.move(session_id, State.ENDING, reason=reason)
            return await repository.get(session_id)

    async def _written(self, session_id: str) -> SessionRow | None:
        """The row, if it is there; None if not, or if nobody says so in time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + DOUBT_S
        while loop.time() < give_up:
            try:
                # One answer that it is not there is no proof: the commit may be on its way.
                if (row := await self._read(session_id)) is not None:
                    return row
            except Unhealthy:
                pass
            await asyncio.sleep(0.2)
        return None


def conflict(identity: str, room: str) -> RoomConflict:
    return RoomConflict(f"An avatar {identity!r} is already live in room {room!r}.")


def _found(row: SessionRow | None) -> SessionRow:
    if row is None:
        raise SessionNotFound(UNKNOWN)
    return row


def _heard(task: asyncio.Task[SessionRow | None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.info("a late answer of the database", error=str(task.exception()))
