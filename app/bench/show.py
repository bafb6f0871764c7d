"""A run of sessions in words: a row a room, what it cost, and what limits it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from app.bench.sessions import LIMITS, Run

FULL = 0.9  # of a core, or of all cores: from here on work waits for its turn
NOISE_CORES = 0.15  # used by others: from here on the numbers are not ours alone


def show(run: Run, console: Console) -> None:
    console.print(_rooms(run), _costs(run))
    health = np.percentile(run.health_ms, [50, 95, 100])
    console.print(
        f"answers of /health, which wait for the event loop: p50 {health[0]:.1f}, "
        f"p95 {health[1]:.1f}, longest {health[2]:.0f} ms",
        f"ready after {min(run.ready_s):.1f} to {max(run.ready_s):.1f} s, all at once",
        sep="\n",
    )
    if run.costs.others > NOISE_CORES:
        console.print(f"[yellow]Other processes used {run.costs.others:.2f} cores.[/yellow]")
    if run.failed:
        missed = ", ".join(f"{name} ({LIMITS[name]})" for name in run.failed)
        console.print(f"[bold red]FAIL[/bold red]: {missed}. {limit(run)}")
    else:
        console.print(f"[green]pass[/green]: {run.load.sessions} sessions held. {limit(run)}")


def limit(run: Run) -> str:
    """What is fullest, and so what more sessions would run into."""
    costs, service = run.costs, run.costs.of["service"]
    thread, busy = service.busiest
    shares = ", ".join(f"{name} {cost.cores:.2f}" for name, cost in costs.of.items())
    if busy >= FULL:
        return f"Limited by one thread of the service: {thread} used {busy:.2f} of a core."
    if costs.machine_cores >= FULL * costs.cores and costs.others <= NOISE_CORES:
        return f"Limited by the machine: all of {costs.cores} cores busy ({shares})."
    return (
        f"Cores busy: {costs.machine_cores:.2f} of {costs.cores} "
        f"({shares}, others {costs.others:.2f}); "
        f"fullest thread of the service: {thread}, {busy:.2f} of a core."
    )


def as_json(run: Run) -> dict[str, Any]:
    return {"passed": not run.failed, "failed": run.failed, "limit": limit(run), **asdict(run)}


def _rooms(run: Run) -> Table:
    load = run.load
    how = "pictures handed over" if load.decode else "counted; gap: at most"
    title = f"{load.sessions} sessions, {load.seconds:g} s, speaking {load.duty:.0%} ({how})"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("", "fps", "gap ms", "late ms p50 p95 p99", "rep.", "drop", "sound"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("missed")
    for number, room in enumerate(run.rooms, 1):
        missed = room.missed(load.seconds)
        concealed = room.concealed_share
        table.add_row(
            str(number),
            f"{room.received_fps:.2f}",
            f"{room.longest_gap_ms:.0f}",
            f"{room.lateness_p50_ms:5.1f} {room.lateness_p95_ms:5.1f} {room.lateness_p99_ms:5.1f}",
            str(room.repeated),
            str(room.dropped),
            "" if concealed is None else f"{100 * (1 - concealed):.1f} %",
            f"[red]{', '.join(missed)}[/red]" if missed else "[green]-[/green]",
        )
    return table


def _costs(run: Run) -> Table:
    table = Table()
    for name in ("process", "cores", "a session", "RSS MB", "fullest thread"):
        table.add_column(name, justify="right")
    for name, cost in run.costs.of.items():
        thread, busy = cost.busiest
        table.add_row(
            name,
            f"{cost.cores:.2f}",
            f"{cost.cores / run.load.sessions:.3f}",
            f"{cost.rss_mb:.0f}",
            f"{thread} {busy:.2f}",
        )
    return table
