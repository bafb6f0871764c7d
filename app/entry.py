"""The first lines of the `voipavatar` command."""

from __future__ import annotations

from app.process.signals import obey_as_init


def main() -> None:
    """Signals first: to import the rest takes seconds on a slow machine."""
    obey_as_init()
    from app.cli import main as command

    command()
