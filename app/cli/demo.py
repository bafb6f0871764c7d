"""`voipavatar demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""

    @app.command()
    def demo(
        persona: Annotated[str, typer.Option(help="Who speaks.")] = "default",
        out: Annotated[Path, typer.Option(help="Where the film goes.")] = Path("demo.mp4"),
        seconds: Annotated[
            float | None, typer.Option(min=8, help="Of speech; the whole sample by default.")
        ] = None,
        stalls: Annotated[
            str,
            typer.Option(help="Stop the engine: 10:200 is 200 ms at 10 s after the first frame."),
        ] = "",
        clicks: Annotated[
            bool, typer.Option("--clicks", help="Short tones instead of speech: a second measure.")
        ] = False,
        keep: Annotated[bool, typer.Option("--keep", help="Leave everything running.")] = False,
    ) -> None:
        """Start LiveKit and the service here, speak to an avatar, film and measure it."""
        from app.demo.run import Options, demo
        from app.local import run_until_stopped
        from app.logging import configure_logging

        configure_logging("auto", "error")  # what the service logs goes to its own file

        options = Options(persona, out, seconds, stalls, clicks, keep)
        raise typer.Exit(run_until_stopped(demo(options)))
