"""`voipavatar bench …`."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import bench_gpu, bench_load, bench_musetalk, bench_realtime

Sessions = Annotated[int, typer.Option("-n", min=1, help="How many at once.")]
Seconds = Annotated[float, typer.Option(min=10, help="How long they are measured.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers there, too.")]
Persona = Annotated[str, typer.Option(help="Who speaks.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    bench = typer.Typer(no_args_is_help=True, help="Measure this machine.")
    bench.command("sessions")(_sessions)
    bench.command("cycles")(_cycles)
    bench.command("warp")(_warp)
    bench_musetalk.register_bench(bench)
    bench_gpu.register_bench(bench)
    bench_load.register_bench(bench)
    bench_realtime.register_bench(bench)
    app.add_typer(bench, name="bench")


def _sessions(
    n: Sessions = 4,
    seconds: Seconds = 30,
    find_max: Annotated[
        bool, typer.Option("--find-max", help="Start at -n and find the most that hold.")
    ] = False,
    decode: Annotated[
        bool,
        typer.Option("--decode/--count", help="Receivers take each picture, or only count."),
    ] = False,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT; the persona's own by default.")] = "",
    duty: Annotated[
        float, typer.Option(min=0.05, max=1, help="Share of the time that is speech.")
    ] = 1.0,
    persona: Persona = "default",
    json: Json = None,
) -> None:
    """Many rooms at once through one service and one LiveKit server, all on this machine."""
    from app.bench.run import bench_sessions
    from app.bench.sessions import Load

    load = Load(n, seconds, persona, _size(size), duty, decode)
    _run(bench_sessions(load, find_max=find_max, json_file=json))


def _cycles(
    n: Annotated[int, typer.Option("-n", min=40, help="How many sessions.")] = 200,
    persona: Persona = "default",
    json: Json = None,
) -> None:
    """Create and delete sessions one after another; tell what the service keeps of them."""
    from app.bench.run import bench_cycles

    _run(bench_cycles(n, persona, json_file=json))


def _warp(
    persona: Persona = "default",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT; the persona's own by default.")] = "",
    json: Json = None,
) -> None:
    """Pictures a second of the warp backend alone, on one core."""
    from app.bench.run import bench_warp

    _run(bench_warp(persona, _size(size), json_file=json))


def _run(benchmark: Coroutine[Any, Any, int]) -> None:
    from app.local import run_until_stopped
    from app.logging import configure_logging

    configure_logging("auto", "error")  # what the service logs goes to its own file
    raise typer.Exit(run_until_stopped(benchmark))


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise typer.BadParameter("write it as 512x512", param_hint="--size")
    return int(found[1]), int(found[2])
