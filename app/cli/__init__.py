"""The `voipavatar` command. Each module of this package adds its own commands."""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from app.config import Settings
from app.process.exit import ended_by
from app.process.private_files import private_files


class _Commands(TyperGroup):
    """Whichever command reads the settings, a wrong one is named in a sentence."""

    def invoke(self, ctx: Any) -> Any:
        # What the models' commands fetch and build is for everybody who serves with it.
        shared = ctx._protected_args[:1] == ["models"]
        try:
            with nullcontext() if shared else private_files():
                return super().invoke(ctx)
        except ValidationError as error:
            if error.title != Settings.__name__:
                raise
            for wrong in error.errors():
                setting = " ".join(_variable(str(part)) for part in wrong["loc"][:1])
                typer.echo(f"Wrong setting {setting}: {wrong['msg']}.", err=True)
            raise typer.Exit(1) from None


def _variable(field: str) -> str:
    """The environment's name of a field, which its alias is already."""
    return field if field.isupper() else f"{Settings.model_config['env_prefix']}{field.upper()}"


app = typer.Typer(
    cls=_Commands,
    name="voipavatar",
    help="Self-hosted lip-synced avatars for LiveKit rooms.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Modules of this package that define `register(app)`, in the order of the help page.
_COMMANDS = (
    "serve",
    "run",
    "render",
    "persona",
    "keys",
    "demo",
    "bench",
    "conformance",
    "doctor",
    "models",
    "parity",
    "samples",
)

for _name in _COMMANDS:
    importlib.import_module(f"app.cli.{_name}").register(app)


def main() -> None:
    """The process `voipavatar`."""
    ended_by(app)
