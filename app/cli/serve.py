"""`voipavatar serve`."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""

    @app.callback()
    def main() -> None:
        """Self-hosted lip-synced avatars for LiveKit rooms."""
