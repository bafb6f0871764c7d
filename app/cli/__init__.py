"""The `voipavatar` command. Each module of this package adds its own commands."""

from __future__ import annotations

import importlib

import typer

app = typer.Typer(
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
)

for _name in _COMMANDS:
    importlib.import_module(f"app.cli.{_name}").register(app)
