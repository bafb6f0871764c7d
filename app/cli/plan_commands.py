"""`voipavatar models export`, `build-tensorrt` and `latents`: from weights to what a GPU serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress, TaskID

from app.cli.model_commands import DEFAULT, Folder, models_app, plainly
from app.config import Settings
from app.personas.catalogue import Catalogue
from app.process.private_files import private_files

Decoder = Annotated[Literal["kl", "tiny"], typer.Option(help="kl as trained, tiny is TAESD.")]
Version = Annotated[Literal["v15", "v1"], typer.Option(help="Of MuseTalk.")]
TOLD_S = 10.0  # between two lines about a long phase


def _onnx(models: Path, version: str, decoder: str) -> Path:
    return models / "onnx" / f"{version}-{decoder}"


@models_app.command("export")
def export_command(
    decoder: Decoder = "kl",
    version: Version = "v15",
    batches: Annotated[
        list[int] | None, typer.Option("--batch-size", help="To check; 1, 2, 7, 25 and 50.")
    ] = None,
    models: Folder = DEFAULT,
) -> None:
    """Write the networks as three ONNX files, and check them against PyTorch."""
    with plainly():
        from engine.prepare.export_onnx import (
            CHECKED_BATCHES,
            PARTS,
            check,
            export,
            load_part,
            load_reference,
        )

        folder, hearing = _onnx(models, version, decoder), Settings().hearing()
        for part in PARTS:
            path = folder / f"{part}.onnx"
            export(part, load_part(part, models, version, decoder), hearing, path)
            typer.echo(f"{path}: written")
        exact = load_reference(models, version, decoder)
        for seen in check(folder, exact, hearing, tuple(batches or CHECKED_BATCHES)):
            typer.echo(
                f"batch {seen.batch}: worst {seen.worst_level} levels, mean {seen.mean_level:.3f}"
            )


@models_app.command("build-tensorrt")
def build_command(
    decoder: Decoder = "kl",
    version: Version = "v15",
    batch_size: Annotated[
        tuple[int, int, int],
        typer.Option(metavar="MIN BEST MAX", help="Batch sizes that the plans take."),
    ] = (1, 25, 50),
    target: Annotated[
        str | None, typer.Option(help="Another GPU than this machine's, as sm89.")
    ] = None,
    level: Annotated[
        int, typer.Option(min=0, max=5, help="How long to look for faster kernels.")
    ] = 3,
    force: Annotated[bool, typer.Option("--force", help="Also plans that are there.")] = False,
    models: Folder = DEFAULT,
) -> None:
    """Compile the exported networks for a GPU; on that GPU, prove that they paint the same."""
    with plainly():
        from engine.backends.trt import PLANS, flavour, load_tensorrt, plan_names
        from engine.parity import plan_set
        from engine.prepare import build_tensorrt as build

        build.check_order(batch_size)
        trt, gpu, hearing = load_tensorrt(), target or build.this_gpu(), Settings().hearing()
        folder, onnx = models / PLANS, _onnx(models, version, decoder)
        names = plan_names(models, version, decoder, hearing, flavour(trt), gpu)
        plans = {part: folder / name for part, name in names.items()}
        which = f"--version {version} --decoder {decoder}"
        plan_set.require_sources(onnx, plans, f"voipavatar models export {which}")
        if force:
            for path in plans.values():
                path.unlink(missing_ok=True)
        cache = None if target else folder / f"times-{flavour(trt)}-{gpu}.cache"
        wish = build.Wish(batch_size, target, level, cache)
        built = plan_set.build_missing(trt, onnx, plans, wish, _told)
        if target is None:
            try:
                for proof in plan_set.proofs(plans | built, models, version, decoder, hearing):
                    typer.echo(str(proof))
            except Exception:
                for path in built.values():
                    path.unlink()
                raise
        plan_set.accept(built, plans)
        for path in plans.values():
            typer.echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
        if target is not None:
            typer.echo(
                f"Not proven: run `voipavatar parity --plan {which}` on a machine with {gpu}."
            )


@contextmanager
def _told(part: str) -> Iterator[Callable[[str, int, int], None]]:
    """A line now and then about a build: its phase, its layers, and the time it may still take."""
    begun = told = time.monotonic()

    def tell(phase: str, step: int, steps: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < TOLD_S or not step:
            return
        told = now
        left = (now - begun) / step * (steps - step)
        typer.echo(
            f"{part}: {phase.lower()}, {step} of {steps}; {now - begun:.0f} s so far, about "
            f"{left:.0f} s left in this phase"
        )

    typer.echo(f"{part}: building")
    yield tell
    typer.echo(f"{part}: built in {time.monotonic() - begun:.0f} s")


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
        from engine.picture.encode_latents import encode_persona

        for name in names or catalogue.names():
            persona = asyncio.run(catalogue.load(name))
            task = progress.add_task(name, total=len(persona.frames))
            encode_persona(persona, models, device, _advancing(progress, task))
            progress.update(task, completed=len(persona.frames))


def _advancing(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    return lambda done, _all: progress.update(task, completed=done)
