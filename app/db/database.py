"""The connection to SQLite or Postgres, and the two kinds of transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import structlog
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.errors import Unhealthy

log = structlog.get_logger(__name__)

BUSY_S = 10  # how long one writer waits for another (SQLite), or a statement may take (Postgres)
CONNECT_S = 5
# The last two come through bare while a connection is made.
UNREACHABLE = (
    OperationalError,
    InterfaceError,
    PoolTimeout,
    OSError,
    asyncpg.PostgresError,
    sqlite3.OperationalError,
)
UNANSWERED = "The database does not answer; see the service's log."


class Database:
    """Short transactions: `read()` sees one snapshot, `write()` commits when its block ends.

    Both raise Unhealthy when the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        """Connects to nothing yet; a SQLite file's folder is made, or Unhealthy raised."""
        self.engine = _engine(url)
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
        """Returns when the database has answered; raises Unhealthy."""
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def aclose(self) -> None:
        await self.engine.dispose()

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        try:
            yield
        except UNREACHABLE as error:
            log.warning("the database does not answer", error=str(error))
            raise Unhealthy(UNANSWERED) from error


def _engine(url: str) -> AsyncEngine:
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(
            parsed,
            pool_size=10,
            pool_timeout=CONNECT_S,
            pool_pre_ping=True,
            connect_args={"timeout": CONNECT_S, "command_timeout": BUSY_S},
        )
    if parsed.database:
        try:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(parsed, error) from error
    engine = create_async_engine(parsed, connect_args={"timeout": BUSY_S})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _parse(url: str) -> URL:
    with suppress(ArgumentError):
        parsed = make_url(url)
        if parsed.drivername in ("sqlite+aiosqlite", "postgresql+asyncpg"):
            return parsed
    raise Unhealthy(
        "VOIPAVATAR_DATABASE_URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."
    )


def unusable(url: URL, error: Exception) -> Unhealthy:
    """What to say to who starts a command."""
    return Unhealthy(
        f"The database {url.render_as_string(hide_password=True)} cannot be opened ({error}). "
        "Start it, or set VOIPAVATAR_DATABASE_URL."
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN comes too late for DDL and for snapshots: see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")  # safe against a killed process under WAL
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another wrote between,
    # whatever the busy timeout: so writers queue at their start.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def use_wal(path: Path) -> None:
    """Switch a SQLite file to write-ahead logging, which lets readers and a writer meet."""
    with sqlite3.connect(path, timeout=BUSY_S) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
