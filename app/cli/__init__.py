"""The `voipavatar` command. Each module of this package adds its own commands.

The instruments (`bench`, `demo`, `conformance`) are in the package `bench`, which is not part of
the wheel, and need the libraries of the extra `bench`. They are imported when one of them is
called, or listed in the help.
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from app.config import Settings
from app.process.private_files import private_files
from app.rtc.exit import ended_by
from app.shipped import version

INSTRUMENTS = {
    "demo": "An avatar speaks in a room, recorded to demo.mp4.",
    "bench": "Measure this machine.",
    "conformance": "Measure a LiveKit avatar worker with the real livekit-agents package.",
}
ABSENT = "`voipavatar {}` comes with the source: clone the repository and run `make setup` there."
LIBRARIES = ("jinja2", "matplotlib", "psutil", "rich")  # the extra `bench`
INCOMPLETE = "`voipavatar {}` needs {}, not installed here: run `make setup` in the checkout."
_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}


class _Commands(TyperGroup):
    """Names a wrong setting in one sentence, whichever command reads it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *INSTRUMENTS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in INSTRUMENTS:
            return super().get_command(ctx, cmd_name)
        return typer.main.get_group(_instrument(cmd_name)).get_command(ctx, cmd_name)

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


def _instrument(name: str) -> typer.Typer:
    """A group with this one command, or with a stand-in that says how to get it."""
    group = typer.Typer()
    group.callback()(lambda: None)
    missing = ", ".join(each for each in LIBRARIES if importlib.util.find_spec(each) is None)
    if importlib.util.find_spec("bench") is None:
        sentence = ABSENT.format(name)
    elif missing:
        sentence = INCOMPLETE.format(name, missing)
    else:
        # By its name: nothing here may depend on the instruments.
        importlib.import_module(f"bench.cli.{name}").register(group)
        return group

    @group.command(name, help=INSTRUMENTS[name], add_help_option=False, context_settings=_ANYTHING)
    def absent() -> None:
        typer.echo(sentence, err=True)
        raise typer.Exit(1)

    return group


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


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"voipavatar {version()}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


# Modules of this package that define `register(app)`, in the order of the help page.
_COMMANDS = (
    "serve",
    "run",
    "render",
    "persona_commands",
    "keys",
    "doctor",
    "model_commands",
    "parity",
    "samples",
)

for _name in _COMMANDS:
    importlib.import_module(f"app.cli.{_name}").register(app)


def main() -> None:
    """The process `voipavatar`."""
    ended_by(app)
