"""The migrations make exactly the tables that the models describe, on both databases."""

from __future__ import annotations

import asyncio

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError

from app.db.database import Database
from app.db.migrate import migrate
from app.errors import Unhealthy
from app.shipped import MIGRATIONS
from bench.devstack import free_port


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


async def test_models_and_migrations_agree(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.run_sync(lambda given: command.check(_config(given)))


@pytest.mark.parametrize("empty_url", ["sqlite"], indirect=True)
async def test_there_is_a_way_back(empty_url: str) -> None:
    database = Database(empty_url)
    await migrate(database)
    async with database.engine.begin() as connection:
        await connection.run_sync(lambda given: command.downgrade(_config(given), "base"))
        tables = await connection.run_sync(lambda given: inspect(given).get_table_names())
    assert tables == ["alembic_version"]
    await migrate(database)
    await database.aclose()


@pytest.mark.parametrize("empty_url", ["sqlite", "postgres"], indirect=True)
async def test_several_may_begin_at_once(empty_url: str) -> None:
    processes = [Database(empty_url) for _ in range(4)]
    await asyncio.gather(*(migrate(database) for database in processes))
    async with processes[0].read() as session:
        assert await session.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    for database in processes:
        await database.aclose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_sqlite_lets_readers_and_a_writer_meet(database: Database) -> None:
    async with database.read() as session:
        assert await session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await session.scalar(text("PRAGMA foreign_keys")) == 1
    async with database.write() as writing, database.read() as reading:
        await writing.execute(text("DELETE FROM sessions"))
        assert await reading.scalar(text("SELECT count(*) FROM sessions")) == 0


async def test_writers_wait_for_one_another(database: Database) -> None:
    """Each reads first, which in SQLite's deferred transactions makes all but one fail."""

    async def add(number: int) -> None:
        async with database.write() as session:
            await session.execute(text("SELECT count(*) FROM api_keys"))
            await session.execute(
                text(
                    "INSERT INTO api_keys (name, key_hash, created_at)"
                    " VALUES (:name, :name, '2026-01-01')"
                ),
                {"name": f"n{number}"},
            )

    await asyncio.gather(*(add(number) for number in range(8)))
    async with database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM api_keys")) == 8


async def test_a_session_belongs_to_an_instance(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            await session.execute(
                text(
                    "INSERT INTO session_events (session_id, at, to_state, detail)"
                    " VALUES ('ses_none', '2026-01-01', 'ready', '')"
                )
            )


async def test_a_database_that_is_down_is_told() -> None:
    database = Database(f"postgresql+asyncpg://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(Unhealthy):
        await database.ping()
    await database.aclose()
