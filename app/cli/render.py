"""`voipavatar render`: a talking video from a persona and a sound file, without LiveKit."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import soxr
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli.files import Force
from app.cli.output_files import refusal
from app.config import Settings
from app.personas.catalogue import Catalogue
from app.process.private_files import callers_mode
from app.telemetry.logging import configure_logging
from engine import FPS, SAMPLE_RATE, EngineError, EnginePool, Persona
from engine.media.video import MediaError, Mp4Writer, Pcm, read_audio
from engine.offline import render

MAKER = "voipavatar render"  # in the film's comment: the command may replace it next time
OUT_RATE = 48_000  # Hz of the sound in the file
OUT_SAMPLES = OUT_RATE // FPS


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""

    @app.command("render")
    def command(
        audio: Annotated[Path, typer.Option(help="Speech: any sound or video file.")],
        out: Annotated[Path, typer.Option(help="The mp4 to write.")],
        persona: Annotated[str, typer.Option(help="Who speaks.")] = "default",
        engine: Annotated[str, typer.Option(help="auto, warp, torch or tensorrt.")] = "",
        width: Annotated[int | None, typer.Option(help="Of the picture, in pixels.")] = None,
        height: Annotated[int | None, typer.Option(help="Of the picture, in pixels.")] = None,
        force: Force = False,
    ) -> None:
        """Make a video of a persona saying a sound file."""
        console = Console(stderr=True)
        settings = Settings()
        configure_logging(settings.log_format, "error")  # what matters here is said in sentences
        if engine:
            settings = settings.model_copy(update={"engine": engine})
        try:
            _look(settings, persona, audio, out, force)
            asyncio.run(_render(settings, persona, (width, height), audio, out, console))
        except EngineError as error:
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None


def _look(settings: Settings, name: str, audio: Path, out: Path, force: bool) -> None:
    """Whether the file may be written at all. Raises EngineError."""
    inputs = [audio, *Catalogue.of(settings).sources(name)]
    if trouble := refusal(out, "--out", MAKER, force=force, inputs=inputs):
        raise MediaError(trouble)


async def _render(
    settings: Settings,
    name: str,
    size: tuple[int | None, int | None],
    audio: Path,
    out: Path,
    console: Console,
) -> None:
    # Sound first: a wrong file shouldn't have to wait for the engine.
    sound = read_audio(audio, OUT_RATE)
    catalogue = Catalogue.of(settings)
    config = settings.engine_config()
    if config.backend == "auto":
        config = replace(config, backend=catalogue.settings(name).engine)
    pool = EnginePool(config)
    try:
        with console.status("Preparing …"):
            persona = await catalogue.load(name, *size)
            await asyncio.to_thread(pool.start)
        console.print(f"{persona.display_name}, {pool.backend_name} engine", highlight=False)
        await _write(pool, persona, sound, out, console)
    finally:
        await pool.aclose()
        await catalogue.aclose()
    console.print(f"{out}: {len(sound) / OUT_RATE:.2f} s", highlight=False)


async def _write(
    pool: EnginePool, persona: Persona, sound: Pcm, out: Path, console: Console
) -> None:
    """The pictures, each followed by its own 40 ms of sound."""
    speech = soxr.resample(sound, OUT_RATE, SAMPLE_RATE)
    bars = (TextColumn("Rendering"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with (
        Progress(
            *bars, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        ) as progress,
        Mp4Writer(
            out, persona.width, persona.height, OUT_RATE, comment=MAKER, mode=callers_mode()
        ) as writer,
    ):
        task = progress.add_task("", total=len(sound))
        begin = 0
        async with aclosing(render(pool, persona, speech)) as pictures:
            async for picture in pictures:
                writer.picture(picture)
                writer.sound(sound[begin : begin + OUT_SAMPLES])
                begin += OUT_SAMPLES
                progress.update(task, completed=min(begin, len(sound)))
