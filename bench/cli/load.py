"""`voipavatar bench load` and `bench faults`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.files import Force, Json
from app.cli.model_commands import plainly


def register_bench(bench: typer.Typer) -> None:
    """Add this module's command to `voipavatar bench`."""
    bench.command("load")(_load)
    bench.command("faults")(_faults)


def _load(
    streams: Annotated[int, typer.Option("-n", min=1, help="How many at once.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="How long they speak.")] = 30,
    reopen: Annotated[
        int, typer.Option(min=0, help="Streams that come, speak and go while the others go on.")
    ] = 0,
    engine: Annotated[str, typer.Option(help="auto, warp, torch or tensorrt.")] = "",
    decoder: Annotated[Literal["kl", "tiny"], typer.Option(help="Of MuseTalk.")] = "kl",
    models: Annotated[Path | None, typer.Option(help="Folder of the weights.")] = None,
    persona: Annotated[str, typer.Option(help="Who speaks.")] = "default",
    json: Json = None,
    force: Force = False,
) -> None:
    """Streams on the engine in real time, without rooms: how many pictures are in time."""
    from app.config import settings
    from app.telemetry.logging import configure_logging
    from bench.rooms.load import Options, run

    configure_logging("auto", "error")
    config = settings().engine_config()
    config = replace(
        config,
        backend=engine or config.backend,
        decoder=decoder,
        models_dir=models or config.models_dir,
    )
    with plainly():
        code = asyncio.run(run(Options(streams, seconds, persona, config, json, reopen)))
    raise typer.Exit(code)


def _faults(
    streams: Annotated[int, typer.Option("-n", min=1, help="How many speak.")] = 4,
    engine: Annotated[Literal["torch"], typer.Option(help="Whose faults.")] = "torch",
    device: Annotated[Literal["auto", "cuda", "cpu"], typer.Option(help="Of torch.")] = "auto",
    decoder: Annotated[Literal["kl", "tiny"], typer.Option(help="Of MuseTalk.")] = "kl",
    models: Annotated[Path | None, typer.Option(help="Folder of the weights.")] = None,
    persona: Annotated[str, typer.Option(help="Who speaks.")] = "default",
) -> None:
    """Fill the device's memory, make calls fail, break its context; report what streams lose."""
    from app.config import settings
    from app.telemetry.logging import configure_logging
    from bench.rooms.load import suffer

    configure_logging("auto", "critical")
    config = settings().engine_config()
    config = replace(
        config,
        backend=engine,
        device=device,
        decoder=decoder,
        max_streams=streams,
        models_dir=models or config.models_dir,
    )
    with plainly():
        code = asyncio.run(suffer(config, persona, streams))
    raise typer.Exit(code)
