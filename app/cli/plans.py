"""`voipavatar models export`, `build-tensorrt` and `latents`: from weights to what a GPU serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress, TaskID

from app.cli.models import DEFAULT, Folder, models_app, plainly
from app.config import Settings
from app.personas.service import Catalogue
from app.private_files import private_files

Decoder = Annotated[Literal["kl", "tiny"], typer.Option(help="kl as trained, tiny is TAESD.")]
Version = Annotated[Literal["v15", "v1"], typer.Option(help="Of MuseTalk.")]


def _onnx(models: Path, version: str, decoder: str) -> Path:
    return models / "onnx" / f"{version}-{decoder}" / "face.onnx"


@models_app.command("export")
def export_command(
    decoder: Decoder = "kl",
    version: Version = "v15",
    batches: Annotated[
        list[int] | None, typer.Option("--batch-size", help="To check; 1, 2, 7, 25 and 50.")
    ] = None,
    models: Folder = DEFAULT,
) -> None:
    """Write the networks as ONNX, and check the file against PyTorch."""
    with plainly():
        from engine.prepare.export_onnx import CHECKED_BATCHES, check, export, load_painter

        path, hearing = _onnx(models, version, decoder), Settings().hearing()
        export(load_painter(models, version, decoder, "float16"), hearing, path)
        typer.echo(f"{path}: written")
        exact = load_painter(models, version, decoder, "float32")
        for seen in check(path, exact, hearing, tuple(batches or CHECKED_BATCHES)):
            typer.echo(
                f"batch {seen.batch}: worst {seen.worst_level} levels, mean {seen.mean_level:.3f}"
            )


@models_app.command("build-tensorrt")
def build_command(
    decoder: Decoder = "kl",
    version: Version = "v15",
    batch_size: Annotated[
        tuple[int, int, int],
        typer.Option(metavar="MIN BEST MAX", help="Batch sizes that the plan takes."),
    ] = (1, 25, 50),
    target: Annotated[
        str | None, typer.Option(help="Another GPU than this machine's, as sm89.")
    ] = None,
    models: Folder = DEFAULT,
) -> None:
    """Compile the exported networks for a GPU."""
    with plainly():
        from engine.backends.trt import PLANS, flavour, load_tensorrt, model_key, plan_name
        from engine.prepare.build_tensorrt import BuildFailed, build_plan, check_order, this_gpu

        check_order(batch_size)
        trt = load_tensorrt()
        key = model_key(models, version, decoder, Settings().hearing())
        name = plan_name(version, decoder, key, flavour(trt), target or this_gpu())
        path, onnx = models / PLANS / name, _onnx(models, version, decoder)
        if not onnx.is_file():
            export = f"voipavatar models export --version {version} --decoder {decoder}"
            raise BuildFailed(f"{onnx} is missing. Run `{export}`.")
        build_plan(trt, onnx, path, batch_size, target)
        typer.echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


@models_app.command("latents")
def latents_command(
    names: Annotated[list[str] | None, typer.Argument(help="Personas; all by default.")] = None,
    device: Annotated[Literal["auto", "cuda", "cpu"], typer.Option()] = "auto",
    models: Folder = DEFAULT,
) -> None:
    """Encode the personas' frames for MuseTalk, as far as that is not done."""
    settings = Settings()
    catalogue = Catalogue.of(settings.model_copy(update={"models_dir": models}))
    with private_files(), plainly(), Progress() as progress:
        from engine.prepare.latents import encode_persona

        for name in names or catalogue.names():
            persona = asyncio.run(catalogue.load(name))
            task = progress.add_task(name, total=len(persona.frames))
            encode_persona(persona, models, device, _advancing(progress, task))
            progress.update(task, completed=len(persona.frames))


def _advancing(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    return lambda done, _all: progress.update(task, completed=done)
