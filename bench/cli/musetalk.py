"""`voipavatar bench features` and `bench schedule`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.cli.model_commands import DEFAULT, Folder
from bench.engine.schedule_sim import Load, Replay, jobs_of, most_streams, replay
from engine.audio.features import Hearing
from engine.core.engine_errors import EngineError
from engine.core.remedies import install_extras
from engine.core.types import SAMPLE_RATE
from engine.media.video import read_audio

if TYPE_CHECKING:
    from bench.engine.features import Measured

H200_KL = {1: 0.0046, 2: 0.0059, 4: 0.0087, 8: 0.0145, 16: 0.0260, 24: 0.0378, 32: 0.0499}
"""Seconds of a batch by its size: KL decoder, fp16, random weights, an NVIDIA H200, networks alone.

`voipavatar bench engine`; docs/benchmarks.md, "MuseTalk on an H200".
"""

Positions = Annotated[str, typer.Option(help="In positions of 20 ms, with commas.")]


def register_bench(bench: typer.Typer) -> None:
    """Add this module's commands to `voipavatar bench`."""
    bench.command("features")(_features)
    bench.command("schedule")(_schedule)


def _features(
    audio: Annotated[Path, typer.Option(exists=True, help="Speech; its first 30 s count.")],
    left: Positions = "25,50,100,250,500",
    right: Positions = "0,2,5,10",
    samples: Annotated[int, typer.Option(min=1, help="Pictures that are compared.")] = 8,
    models: Folder = DEFAULT,
    seed: Annotated[int, typer.Option(help="Of random weights, where there are no others.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Error of streamed features against those of the whole file, by context and form."""
    try:
        from bench.engine.features import load_encoder, measure
    except ImportError as error:
        _refuse(f"{error}. Install the networks' libraries: {install_extras('models')}")
    try:
        contexts = _contexts(left, right)
        encoder, origin = load_encoder(models, seed, device)
        table = Table("left", "right", "form", "wait", "stem", "layers", "same place")
        pcm = read_audio(audio, SAMPLE_RATE)
        rows = measure(encoder, pcm, contexts, samples)
        told = Console(stderr=True)
        for row in track(rows, "Contexts", len(contexts), console=told, transient=True):
            table.add_row(*_line(row))
    except (EngineError, ValueError) as error:
        _refuse(str(error))
    Console().print(table)
    typer.echo(f"Weights: {origin}. RMS of the error over RMS of the whole file's features.")


def _line(row: Measured) -> tuple[str, ...]:
    hearing = row.hearing
    errors = (f"{error:.4f}" for error in (row.stem, row.layers, row.same_place))
    wait = f"{row.wait_s * 1000:.1f} ms"
    return (f"{hearing.left / 50:g} s", f"{hearing.right * 20} ms", hearing.form, wait, *errors)


def _contexts(left: str, right: str) -> list[Hearing]:
    return [
        Hearing(before, after, form)
        for form in ("truncated", "padded")
        for before in _numbers(left)
        for after in _numbers(right)
    ]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text} are no positions; write them as 25,50,100") from error


def _schedule(
    streams: Annotated[int, typer.Option(min=1, help="Sessions at once.")] = 16,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the load.")] = 60,
    pauses: Annotated[bool, typer.Option(help="Sessions pause at times.")] = True,
    talk_s: Annotated[float, typer.Option("--talk", min=0.1, help="Mean seconds of speech.")] = 4,
    pause_s: Annotated[float, typer.Option("--pause", min=0.1, help="Of a pause.")] = 2,
    run_times: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help='JSON: {"1": seconds, "2": …} of a batch by its size, or a file of '
            "models/run-times, which serving writes.",
        ),
    ] = None,
    most: Annotated[bool, typer.Option("--most", help="Find the most sessions that hold.")] = False,
    lost: Annotated[
        float, typer.Option(min=0, max=50, help="Per cent of its pictures that each may lose.")
    ] = 0,
) -> None:
    """Replay a load on a table of run times, by default an H200's, through the scheduler."""
    table = H200_KL if run_times is None else _read(run_times)
    load = Load(streams, seconds, talk_s, pause_s if pauses else 0.0)
    if most:
        found = most_streams(load, table, lost / 100)
        typer.echo(f"{found} sessions hold 25 fps on this table.")
        return
    done = replay(jobs_of(load), table)
    worst = done.worst(seconds)
    Console().print(_report(done, worst))
    raise typer.Exit(0 if worst <= lost / 100 else 1)


def _read(path: Path) -> dict[int, float]:
    try:
        found = json.loads(path.read_text())
        if "batches" in found:  # as `engine.serving.run_times` keeps them
            found = {size: each["run_s"] for size, each in found["batches"].items()}
        table = {int(size): float(seconds) for size, seconds in found.items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        _refuse(f"{path} is no table of run times: {error}.")
    if not table or min(table) < 1 or min(table.values()) <= 0:
        _refuse(f"{path} is no table of run times: sizes and seconds must be positive.")
    return table


def _report(done: Replay, worst: float) -> Table:
    sizes = ", ".join(f"{size}: {count}" for size, count in sorted(done.batch_sizes.items()))
    heads = ["in time", "after", "dropped", "worst session", "busy", "slack p50", "p99", "p99.9"]
    table = Table(*heads)
    table.caption = f"Batches by size: {sizes}"
    shares = (f"{done.slack(share) * 1000:.1f} ms" for share in (0.5, 0.99, 0.999))
    busy = f"{done.busy_s / done.seconds:.0%}"
    counts = (str(count) for count in (done.frames - done.missed, done.missed, done.late))
    table.add_row(*counts, f"{worst:.1%} lost", busy, *shares)
    return table


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)
