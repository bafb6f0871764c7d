"""`voipavatar bench realtime`."""

from __future__ import annotations

import time
from dataclasses import replace
from json import loads
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.files import Force, Json
from app.cli.model_commands import plainly
from app.cli.output_files import refusal, write_json
from app.config import Settings
from app.shipped import SAMPLE
from bench.engine.realtime import as_json, bench, table
from engine.core.types import SAMPLE_RATE
from engine.media.video import read_audio
from engine.prepare.build import prepare
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import tools_in
from engine.serving.choice import load_backend

MAKER = "voipavatar bench realtime"


def register_bench(bench: typer.Typer) -> None:
    """Add this module's command to `voipavatar bench`."""
    bench.command("realtime")(_realtime)


def _realtime(
    video: Annotated[Path, typer.Option(help="A face: what a persona is made of.")],
    audio: Annotated[Path, typer.Option(help="Speech: any sound or video file.")] = SAMPLE,
    tensorrt: Annotated[bool, typer.Option("--tensorrt", help="As --engine tensorrt.")] = False,
    engine: Annotated[str, typer.Option(help="auto, warp, torch or tensorrt.")] = "",
    decoder: Annotated[Literal["kl", "tiny"] | None, typer.Option(help="Of MuseTalk.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of the weights.")] = None,
    chunk_duration: Annotated[float, typer.Option(min=0.04, help="Seconds.")] = 0.4,
    json: Json = None,
    force: Force = False,
) -> None:
    """One session's sound in chunks: real-time ratio, and a chunk's latency stage by stage."""
    trouble = json and refusal(json, "--json", MAKER, force=force, inputs=[video, audio])
    if trouble:
        raise typer.BadParameter(trouble)
    settings = Settings()
    config = settings.engine_config()
    chosen = "tensorrt" if tensorrt else engine or config.backend
    config = replace(
        config,
        backend=chosen,
        decoder=decoder or config.decoder,
        models_dir=models or config.models_dir,
    )
    with plainly():
        backend = load_backend(config)  # what is missing need not wait for the video
        speech = read_audio(audio, SAMPLE_RATE)
        begun = time.perf_counter()
        about = PersonaSettings(str(video), display_name=video.stem, version=config.version)
        cache = settings.data_dir / "personas"
        persona = prepare(video.stem, about, video, cache, tools=tools_in(config.models_dir))
        typer.echo(f"persona prepared, or found prepared, in {time.perf_counter() - begun:.2f} s")
        report = bench(backend, config, persona, speech, chunk_duration)
    typer.echo(table(report))
    if json is not None:
        write_json(json, loads(as_json(report)), MAKER)
