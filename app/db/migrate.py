"""Migrates a database to the newest schema; safe when several processes start at once."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from app.db.database import Database, use_wal
from app.db.failures import DRIVERS, SETTING, unusable
from app.errors import Unhealthy
from app.shipped import MIGRATIONS

_LOCK = 7_402_118  # arbitrary, but the same for every process of the service on one Postgres


async def migrate(database: Database) -> None:
    """Upgrade to the newest revision, one process at a time. Raises Unhealthy."""
    try:
        await _migrate(database)
    except CommandError as error:
        raise Unhealthy(
            f"The database {database.address.shown} belongs to another version of voipavatar "
            f"({error}). Install that version, or set {SETTING} to another database."
        ) from error
    except DRIVERS as error:
        raise unusable(database.address, error) from error


async def _migrate(database: Database) -> None:
    if database.address.file is not None:
        await asyncio.to_thread(_make_wal, database.address.file)
    async with database.engine.execution_options(writes=True).begin() as connection:
        if database.dialect == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _make_wal(path: Path) -> None:
    # The switch fails at once, despite the busy timeout, while another process makes it.
    with _only_one(path.with_name(path.name + ".lock")):
        use_wal(path)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
