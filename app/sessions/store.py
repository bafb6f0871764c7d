"""Session rows, available even while the database does not answer.

This process knows its own sessions, so it can read them and ask them to end without the database.
Their events are recorded once the database is back.
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

PATIENCE_S = 2.0  # for the database, where this process knows the answer itself
DOUBT_S = 5.0  # for finding out whether a row was written after the answer was lost
LATE_S = 30.0  # after this, no earlier statement can still be under way
UNKNOWN = "There is no session with that id."
UNREPORTED = Outcome(
    FailureCode.INTERNAL, "The database was lost while the session was created; nobody got its id."
)


class SessionStore:
    def __init__(self, database: Database, registry: Registry, events: SessionEvents) -> None:
        self._database = database
        self._registry = registry
        self._events = events
        self._background = BackgroundTasks()

    async def aclose(self) -> None:
        await self._background.aclose()

    async def insert(self, row: SessionRow) -> SessionRow:
        """Write a row. Raises RoomConflict, or Unhealthy if nothing was written.

        After a lost answer to the commit, a read by id shows whether the row was written.
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
                self.close_row(row.id, UNREPORTED, after_s=LATE_S)
                raise
            log.warning("the answer to a commit was lost; the row exists", session_id=row.id)
            return written

    async def get(self, session_id: str) -> SessionRow:
        """From the database, or as known here. Raises SessionNotFound, Unhealthy."""
        return await self._or_known(session_id, self._read(session_id))

    async def mark_ending(self, session_id: str, reason: EndReason) -> SessionRow:
        """Returns the row, in `ending` or final; raises as `get` does."""
        return await self._or_known(session_id, self._move_to_ending(session_id, reason))

    async def holder(self, key: Key) -> SessionRow | None:
        """The live session that holds an avatar's key."""
        async with self._database.read() as session:
            return await SessionRepository(session).live_on(*key)

    async def live_in(self, livekit_url: str, room: str) -> Sequence[SessionRow]:
        """All live sessions in a room."""
        async with self._database.read() as session:
            return await SessionRepository(session).live_in(livekit_url, room)

    async def page(self, wanted: Listing) -> tuple[Sequence[SessionRow], str | None]:
        async with self._database.read() as session:
            repository = SessionRepository(session)
            return await repository.page(wanted.state, wanted.limit, wanted.cursor)

    def close_row(self, session_id: str, outcome: Outcome, *, after_s: float = 0.0) -> None:
        """End a row that has no task, as soon as the database answers."""

        async def close() -> None:
            await asyncio.sleep(after_s)
            while True:
                try:
                    return await self._events.finished(session_id, outcome, {})
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
        # The session may have ended meanwhile, so that only the database knows it.
        known = self._registry.known(session_id)
        if known is None:
            return _found(await task)
        if not task.done():
            task.add_done_callback(_log_failure)  # its effect is right, only late
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
        """The row, or None if it does not exist or the database does not say in time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + DOUBT_S
        while loop.time() < give_up:
            try:
                # One read without the row proves nothing: the commit may still be under way.
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


def _log_failure(task: asyncio.Task[SessionRow | None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.info("the database answered late", error=str(task.exception()))
