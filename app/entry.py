"""Entry point of the `voipavatar` command."""

from __future__ import annotations

import sys

from app.process.signals import obey_as_init


def main() -> None:
    """Install signal handlers first: the other imports take seconds on a slow machine."""
    obey_as_init()
    try:
        from app.cli import main as command
    except ImportError as error:
        if type(error).__name__ != "UnsupportedLiveKit":
            raise
        sys.exit(str(error))
    command()
