"""`voipavatar bench engine` and `bench blending`: what this machine's device does."""

from __future__ import annotations

from dataclasses import replace
from json import loads
from typing import Annotated, Literal

import typer

from app.cli.files import Force, Json
from app.cli.model_commands import DEFAULT, Folder, plainly
from app.cli.output_files import write_json
from engine.engine_config import EngineConfig

Device = Annotated[Literal["auto", "cuda", "cpu"], typer.Option(help="cpu leaves a GPU out.")]
Decoder = Annotated[
    Literal["both", "kl", "tiny"], typer.Option(help="kl as trained, tiny is TAESD.")
]
Seconds = Annotated[float, typer.Option(min=1, help="Of each sustained measurement.")]


def register_bench(bench: typer.Typer) -> None:
    """Add this module's commands to `voipavatar bench`."""
    bench.command("engine")(_engine)
    bench.command("blending")(_blending)


def _engine(
    decoder: Decoder = "both",
    backend: Annotated[Literal["torch"], typer.Option(help="What runs the networks.")] = "torch",
    seconds: Seconds = 10,
    device: Device = "auto",
    version: Annotated[Literal["v15", "v1"], typer.Option(help="Of MuseTalk.")] = "v15",
    models: Folder = DEFAULT,
    json: Json = None,
    force: Force = False,
) -> None:
    """Every batch size of the engine, beside the reference's own loop and the device's roof."""
    from app.telemetry.logging import configure_logging

    configure_logging("auto", "info")  # compiling takes a while: show the progress
    config = EngineConfig(backend=backend, models_dir=models, version=version, device=device)
    with plainly():
        from bench.engine.musetalk import as_json, bench, table

        reports = []
        for kind in ("kl", "tiny") if decoder == "both" else (decoder,):
            reports.append(bench(replace(config, decoder=kind), seconds))
            typer.echo(table(reports[-1]))
        if json is not None:
            write_json(json, loads(as_json(reports)), "voipavatar bench engine")


def _blending(
    threads: Annotated[int, typer.Option(min=1, help="Of the parallel way.")] = 4,
    device: Device = "auto",
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 1,
    json: Json = None,
    force: Force = False,
) -> None:
    """Faces into pictures: one thread, several threads, and the GPU."""
    with plainly():
        from bench.engine.blending import as_json, bench, table

        report = bench(device, threads, seconds)
        typer.echo(table(report))
        if json is not None:
            write_json(json, loads(as_json(report)), "voipavatar bench blending")
