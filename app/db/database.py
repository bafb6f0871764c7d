"""The connection to SQLite or Postgres, and its read and write transactions."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.db.address import BUSY_S, CONNECT_S, Address, WrongAddress, parse_address
from app.db.failures import DRIVERS, SETTING, is_statement, problem_of, unusable
from app.errors import Unhealthy

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")
RECALL_S = 2.0  # after this, `recall` uses the last known answer


class Database:
    """Short transactions: `read()` sees one snapshot, `write()` commits when its block ends.

    Both raise Unhealthy if the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        """Does not connect yet. Creates a SQLite file's folder, or raises Unhealthy."""
        self.address = _address(url)
        self.engine = _engine(self.address)
        self._recalled: dict[str, Any] = {}
        self._writing = self.engine.execution_options(writes=True)

    @property
    def dialect(self) -> str:
        return self.engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with self._asked(), AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with (
            self._asked(),
            AsyncSession(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def ping(self) -> None:
        """Returns once the database has answered; raises Unhealthy."""
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def recall(self, what: str, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The result of `ask`, or its last result while the database does not answer.

        For data that rarely changes and that calls in progress need during an outage.
        """
        asked = asyncio.create_task(ask())
        if what in self._recalled:
            await asyncio.wait({asked}, timeout=RECALL_S)
            failed = asked.done() and isinstance(asked.exception(), Unhealthy)
            if failed or not asked.done():
                asked.cancel()
                last: Answer = self._recalled[what]
                return last
        self._recalled[what] = answer = await asked
        return answer

    async def aclose(self) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        try:
            yield
        except DRIVERS as error:
            if is_statement(error):
                raise
            log.warning("a transaction failed", reason=unusable(self.address, error).detail)
            raise problem_of(error) from error


def _address(url: str) -> Address:
    try:
        return parse_address(url)
    except WrongAddress as error:
        raise Unhealthy(f"{SETTING} is unusable: {error}.") from error


def _engine(address: Address) -> AsyncEngine:
    if not address.is_sqlite:
        engine = create_async_engine(
            address.url,
            pool_size=10,
            pool_timeout=CONNECT_S,
            pool_pre_ping=True,
            connect_args=address.arguments,
        )
        if (keep_alive := address.keep_alive) is not None:
            event.listen(
                engine.sync_engine,
                "connect",
                lambda connection, _: keep_alive.apply(connection.driver_connection),
            )
        return engine
    if address.file is not None:
        try:
            address.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(address, error) from error
    engine = create_async_engine(address.url, connect_args=address.arguments)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN comes too late for DDL and for snapshots; see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")  # under WAL, survives a killed process
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once, despite the busy timeout, if
    # another wrote in between. So writers queue when they begin.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def use_wal(path: Path) -> None:
    """Switch a SQLite file to write-ahead logging, under which readers do not block a writer."""
    with sqlite3.connect(path, timeout=BUSY_S) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
