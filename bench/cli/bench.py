"""`voipavatar bench …`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.files import Force, Json
from bench.cli import gpu as bench_gpu
from bench.cli import load as bench_load
from bench.cli import musetalk as bench_musetalk
from bench.cli import realtime as bench_realtime
from bench.cli import sessions as bench_sessions
from bench.cli.sessions import run_benchmark, size_of

Persona = Annotated[str, typer.Option(help="Who speaks.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    bench = typer.Typer(no_args_is_help=True, help="Measure this machine.")
    bench_sessions.register_bench(bench)
    bench.command("cycles")(_cycles)
    bench.command("rooms")(_rooms)
    bench.command("warp")(_warp)
    bench_musetalk.register_bench(bench)
    bench_gpu.register_bench(bench)
    bench_load.register_bench(bench)
    bench_realtime.register_bench(bench)
    app.add_typer(bench, name="bench")


def _cycles(
    n: Annotated[int, typer.Option("-n", min=40, help="How many sessions.")] = 200,
    persona: Persona = "default",
    json: Json = None,
    force: Force = False,
) -> None:
    """Create and delete sessions one after another; report what the service keeps of them."""
    from bench.rooms.run import bench_cycles

    run_benchmark(bench_cycles(n, persona, json_file=json))


def _rooms(
    kind: Annotated[
        Literal["room", "tracks", "session"],
        typer.Option(help="LiveKit's SDK alone; with two tracks; one of our sessions."),
    ] = "session",
    n: Annotated[int, typer.Option("-n", min=40, help="How many rooms.")] = 150,
    trace: Annotated[bool, typer.Option(help="Tell where Python's own memory grew.")] = False,
    json: Json = None,
    force: Force = False,
) -> None:
    """Memory that a process keeps for each room it was in."""
    from bench.rooms.memory_growth import bench_rooms

    run_benchmark(bench_rooms(kind, n, trace=trace, json_file=json))


def _warp(
    persona: Persona = "default",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT; the persona's own by default.")] = "",
    json: Json = None,
    force: Force = False,
) -> None:
    """Pictures a second of the warp backend alone, on one core."""
    from bench.rooms.run import bench_warp

    run_benchmark(bench_warp(persona, size_of(size), json_file=json))
