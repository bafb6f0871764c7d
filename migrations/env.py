"""Alembic's entry: the service hands its own connection, the command line opens one."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.config import Settings
from app.db import tables as models
from app.db.database import Database


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=models.Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    database = Database(Settings().database)
    try:
        async with database.engine.execution_options(writes=True).begin() as connection:
            await connection.run_sync(run)
    finally:
        await database.aclose()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_alone())
else:
    run(given)
