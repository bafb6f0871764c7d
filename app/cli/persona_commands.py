"""`voipavatar persona`: make a persona of a video, and see which there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from app.config import Settings
from app.personas.catalogue import Catalogue, PersonaInfo
from app.personas.edit import check_name
from app.personas.manifest import read_blocks, settings_of, video_of
from app.personas.own import OwnVideo, store
from app.process.private_files import keep_private
from app.telemetry.logging import configure_logging
from engine import FPS, EngineError, Persona, PersonaError
from engine.core.remedies import install_extras
from engine.media.video import VideoInfo, probe_video
from engine.models.layout import NETWORKS
from engine.prepare.build import prepare
from engine.prepare.cache import MANIFEST
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import Tools, tools_in

persona_app = typer.Typer(help="Make personas, and list them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    app.add_typer(persona_app, name="persona")


@persona_app.command("prepare")
def prepare_command(
    name: Annotated[str, typer.Option(help="What sessions ask for.")],
    video: Annotated[
        Path | None, typer.Argument(help="Without one, the persona is prepared as configured.")
    ] = None,
    display_name: Annotated[str | None, typer.Option(help="What people read.")] = None,
    bbox_shift: Annotated[
        float | None, typer.Option(help="Pixels by which the painted part begins lower.")
    ] = None,
    face_box: Annotated[
        str | None, typer.Option(metavar="X1,Y1,X2,Y2", help="Where the face is, by hand.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another video that the persona has.")
    ] = False,
) -> None:
    """Make a persona of a video: five to ten seconds of a face that is silent and looks ahead."""
    console = Console(stderr=True)
    try:
        changes: dict[str, Any] = {
            "display_name": display_name,
            "bbox_shift": bbox_shift,
            "face_box": _box(face_box),
        }
        given = {key: value for key, value in changes.items() if value is not None}
        settings = Settings()
        configure_logging(settings.log_format, "error")
        _prepare(settings, name, video, given, console, force)
    except EngineError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


@persona_app.command("list")
def list_command() -> None:
    """Show the personas of this service."""
    settings = Settings()
    catalogue = Catalogue.of(settings)
    try:
        listed = asyncio.run(catalogue.listing())
    except EngineError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    table = Table("name", "display name", "size", "engine", "state")
    for persona in listed:
        size = f"{persona.width}x{persona.height}" if persona.width else ""
        table.add_row(persona.name, persona.display_name, size, persona.engine, _state(persona))
    Console().print(table)


def _state(persona: PersonaInfo) -> str:
    return persona.problem or ("prepared" if persona.prepared else "not prepared yet")


def _box(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(edge) for edge in text.split(",")]
    except ValueError:
        raise PersonaError(
            f"Write --face-box as X1,Y1,X2,Y2 in pixels, as in 160,120,360,380, not {text}."
        ) from None


def _prepare(
    settings: Settings,
    name: str,
    video: Path | None,
    given: dict[str, Any],
    console: Console,
    force: bool,
) -> None:
    """Prepare first, and write the own personas.yaml only when that went well."""
    check_name(name)
    try:
        keep_private(settings.data_dir)
    except OSError as error:
        raise PersonaError(
            f"{settings.data_dir} cannot be made ({error.strerror}): set VOIPAVATAR_DATA_DIR."
        ) from error
    shipped = settings.personas_dir
    block = {**_mapping(read_blocks(shipped, settings.own_personas).get(name)), **given}
    new = None
    if video is not None:
        new = OwnVideo(video, settings.own_personas, name)
        block["video_path"] = str(video.absolute())
        given = _whole(block, shipped) | {"video_path": new.place}
        new.check(force)
    if "video_path" not in block:
        raise PersonaError(f"No persona is named {name!r} yet: give the video to make it of.")
    checked = settings_of(name, block, shipped, settings.musetalk_version)
    source = video or video_of(checked, shipped)
    tools = tools_in(settings.models_dir)
    persona = _prepared(name, checked, source, settings.data_dir / "personas", tools, console)
    if given:
        store(settings.own_personas, name, given, new)
    _tell(console, persona, probe_video(source), video is not None)
    _encode(persona, settings, console)


def _encode(persona: Persona, settings: Settings, console: Console) -> None:
    """Make the latents, too, where MuseTalk's networks are; else its first session would wait."""
    models = settings.models_dir
    if not NETWORKS["kl"].ready_path(models).is_file():
        return
    try:
        from engine.picture.encode_latents import encode_persona
    except ImportError:
        console.print(
            "For MuseTalk, its frames have to be encoded as well. Install the networks' libraries "
            f"({install_extras('models')}), then run:  voipavatar models latents {persona.name}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return
    bars = (TextColumn("Encoding"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*bars, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(persona.frames))
        encode_persona(
            persona,
            models,
            settings.device,
            lambda done, _: progress.update(task, completed=done),
        )
    console.print("Its latents for MuseTalk are ready, too.", highlight=False)


def _prepared(
    name: str,
    checked: PersonaSettings,
    source: Path,
    cache: Path,
    tools: Tools,
    console: Console,
) -> Persona:
    bars = (TextColumn("Preparing"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*bars, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        return prepare(
            name,
            checked,
            source,
            cache,
            progress=lambda done: progress.update(task, completed=done),
            tools=tools,
        )


def _mapping(block: object) -> dict[str, Any]:
    return dict(block) if isinstance(block, Mapping) else {}


def _whole(block: dict[str, Any], shipped: Path) -> dict[str, Any]:
    """A block that stands by itself in another file than the one it came from."""
    if not (config := block.get("inference_config")):
        return block
    return {**block, "inference_config": str((shipped / config).absolute())}


def _found_by(persona: Persona) -> str:
    manifest = json.loads((persona.folder / MANIFEST).read_text(encoding="utf-8"))
    return f"Face: {manifest['faces']}; painted region: {manifest['mask']}."


def _tell(console: Console, persona: Persona, source: VideoInfo, is_new: bool) -> None:
    count = len(persona.frames)
    if source.other_rate:
        console.print(
            f"The video has {source.source_fps:g} frames a second; it was converted to {FPS}.",
            style="yellow",
        )
    console.print(
        f"{persona.name} is ready: {count} frames ({count / FPS:.1f} s), "
        f"{persona.width}x{persona.height}. {_found_by(persona)}",
        highlight=False,
    )
    if is_new:
        console.print(
            "See it speak:  voipavatar render "
            f"--persona {persona.name} --audio speech.wav --out {persona.name}-speaks.mp4",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
