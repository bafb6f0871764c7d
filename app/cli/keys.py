"""`voipavatar keys`: who may call the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from app.config import Settings
from app.db import api_keys
from app.db.database import Database
from app.db.migrate import migrate
from app.errors import AppError

Result = TypeVar("Result")

Name = Annotated[str, typer.Argument(help="Who or what the key is for.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    keys = typer.Typer(help="Keys to the API; a running service honours a change at once.")
    keys.command("create")(create)
    keys.command("list")(show)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys", no_args_is_help=True)


def create(name: Name) -> None:
    """Make a key and print it, alone on standard output; it is shown only now."""
    if not 1 <= len(name) <= 100:
        raise _refusal("A key's name has 1 to 100 characters.")
    try:
        typer.echo(_with_database(lambda database: api_keys.create_key(database, name)))
    except api_keys.NameTaken as error:
        raise _refusal(f"{error} Take another name, or `voipavatar keys revoke` it.") from None


def show() -> None:
    """List the keys, without the keys themselves."""
    table = Table("name", "created", "revoked")
    for key in _with_database(api_keys.list_keys):
        revoked = f"{key.revoked_at:%Y-%m-%d %H:%M} UTC" if key.revoked_at else ""
        table.add_row(key.name, f"{key.created_at:%Y-%m-%d %H:%M} UTC", revoked)
    Console().print(table)


def revoke(name: Name) -> None:
    """Make a key worthless from this moment on."""
    if not _with_database(lambda database: api_keys.revoke_key(database, name)):
        raise _refusal(f"No active key is named {name!r}; see `voipavatar keys list`.")
    typer.echo(f"Revoked {name}.", err=True)


def _with_database(work: Callable[[Database], Awaitable[Result]]) -> Result:
    async def opened() -> Result:
        database = Database(Settings().database)
        try:
            await migrate(database)
            return await work(database)
        finally:
            await database.aclose()

    try:
        return asyncio.run(opened())
    except AppError as error:
        raise _refusal(str(error)) from None


def _refusal(sentence: str) -> typer.Exit:
    typer.echo(sentence, err=True)
    return typer.Exit(1)
