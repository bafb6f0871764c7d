"""`voipavatar demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.files import Force
from app.cli.output_files import refusal


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""

    @app.command()
    def demo(
        persona: Annotated[str, typer.Option(help="Who speaks.")] = "default",
        out: Annotated[
            Path, typer.Option(help="Where the film goes; the numbers go beside it, as .json.")
        ] = Path("demo.mp4"),
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
        strict: Annotated[
            bool, typer.Option("--strict", help="Exit with 1 where a number is not good.")
        ] = False,
        force: Force = False,
    ) -> None:
        """Start LiveKit and the service here, speak to an avatar, film and measure it."""
        from app.telemetry.logging import configure_logging
        from bench.demo.run import MAKER, Options, demo, json_of
        from bench.devstack import run_until_stopped

        configure_logging("auto", "error")  # the service logs to a file of its own

        if out == json_of(out):
            raise typer.BadParameter(f"{out} is the name of the numbers: name an mp4 with --out.")
        for file in (out, json_of(out)):
            if trouble := refusal(file, "--out", MAKER, force=force):
                typer.echo(trouble, err=True)
                raise typer.Exit(2)
        options = Options(persona, out, seconds, stalls, clicks, keep, strict)
        raise typer.Exit(run_until_stopped(demo(options)))
