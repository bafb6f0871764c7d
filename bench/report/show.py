"""A run of sessions on the console: a row for each room, its cost, and the bottleneck."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.rooms.loop_lag import Spread
from bench.rooms.rooms import Quantiles
from bench.rooms.sessions import Run

FULL = 0.9  # of a core, or of all cores; above it work queues
NOISE_CORES = 0.15  # used by other processes; above it they disturb the measurement


def show(run: Run, console: Console) -> None:
    console.print(_rooms(run), _costs(run))
    console.print("\n".join(notes(run)), highlight=False)
    if run.costs.others > NOISE_CORES:
        console.print(f"[yellow]Other processes used {run.costs.others:.2f} cores.[/yellow]")
    colour = "bold red" if run.failed else "green"
    console.print(f"[{colour}]{verdict(run)}[/{colour}] {limit(run)}", highlight=False)


def counted(sessions: int) -> str:
    return f"{sessions} session{'' if sessions == 1 else 's'}"


def holding(sessions: int) -> str:
    return f"{counted(sessions)} hold{'s' if sessions == 1 else ''}"


def verdict(run: Run) -> str:
    """Whether the run passed, and if not, which limits it missed."""
    bounds = run.load.limits
    if run.failed:
        return f"FAIL: {'; '.join(str(bounds[name]) for name in run.failed)}."
    return f"pass: {counted(run.load.sessions)} held."


def notes(run: Run) -> list[str]:
    """Measurements of all sessions together, as clauses without a full stop."""
    found = [f"ready after {min(run.ready_s):.1f} to {max(run.ready_s):.1f} s, all at once"]
    if run.load.source == "agent":
        found.append(f"turn start, as heard: {quantiles(run.turns)}")
        found.append(f"interrupt to silence, as heard: {quantiles(run.interrupts)}")
    for process, pulse in run.pulses.items():
        found.append(f"event loop of {process} woke late by {spread(pulse.lag)}")
        pauses = pulse.pauses
        found.append(
            f"collections of {process}: {pauses.count}, {pauses.total_ms:.0f} ms in all, "
            f"longest {_edge(pauses.longest)}"
        )
    if run.unmeasured:
        names = ", ".join(run.load.limits[name].text for name in run.unmeasured)
        found.append(f"not measured in this run: {names}")
    return found


def quantiles(found: Quantiles) -> str:
    if found.p50 is None or found.p95 is None:
        return "none"
    unheard = f", {found.unheard} never heard" if found.unheard else ""
    return f"p50 {found.p50:.0f} ms, p95 {found.p95:.0f} ms of {found.count}{unheard}"


def spread(found: Spread) -> str:
    """Each value is the upper edge of its bucket."""
    return f"p50 {_edge(found.p50)}, p99 {_edge(found.p99)}, longest {_edge(found.longest)}"


def _edge(value: float | None) -> str:
    return "over 400 ms" if value is None else f"≤ {value:g} ms"


def limit(run: Run) -> str:
    """The bottleneck: what is busiest, and would stop more sessions."""
    costs = run.costs
    ours = (name for name in costs.of if not name.startswith(("people", "agents")))
    fullest = max(ours, key=lambda name: costs.of[name].busiest[1])
    thread, busy = costs.of[fullest].busiest
    shares = ", ".join(f"{name} {cost.cores:.2f}" for name, cost in costs.of.items())
    if busy >= FULL:
        return f"Limited by one thread of {fullest}: {thread} used {busy:.2f} of a core."
    if costs.machine_cores >= FULL * costs.cores and costs.others <= NOISE_CORES:
        return f"Limited by the machine: all of {costs.cores} cores busy ({shares})."
    return (
        f"Cores busy: {costs.machine_cores:.2f} of {costs.cores} "
        f"({shares}, others {costs.others:.2f}); "
        f"fullest thread: {thread} of {fullest}, {busy:.2f} of a core."
    )


def as_json(run: Run) -> dict[str, Any]:
    return {
        "passed": not run.failed,
        "failed": run.failed,
        "limit": limit(run),
        "turns": asdict(run.turns),
        "interrupts": asdict(run.interrupts),
        **asdict(run),
    }


def title(run: Run) -> str:
    load = run.load
    speech = "agents' turns" if load.source == "agent" else "microphones"
    how = {
        "count": "pictures counted as they arrive",
        "sdk": "pictures decoded and counted; gap: at most",
        "decode": "pictures decoded and handed over",
    }
    return (
        f"{counted(load.sessions)}, {load.seconds:g} s, {speech} speaking {load.duty:.0%} "
        f"of the time ({how[load.receiver]})"
    )


def _rooms(run: Run) -> Table:
    load = run.load
    table = _table(title(run))
    names = ["", "fps", "gap\nms", "gaps\n>60/100/200", "late ms\np50/p99"]
    names += ["rep./\ndrop", "A/V\np95"]
    if load.source == "agent":
        names += ["turn\np95", "silence\np95"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("missed")
    for number, room in enumerate(run.rooms, 1):
        missed = room.missed(load.seconds, load.limits)
        gaps = room.gaps
        row = [
            str(number),
            f"{room.received_fps:.2f}",
            f"{room.longest_gap_ms:.0f}",
            "" if gaps is None else "/".join(map(str, gaps.values())),
            f"{room.lateness_p50_ms:.1f}/{room.lateness_p99_ms:.1f}",
            f"{room.repeated}/{room.dropped}",
            "" if room.av_p95_ms is None else f"{room.av_p95_ms:.1f}",
        ]
        if load.source == "agent":
            row += [_p95(room.turns), _p95(room.interrupts)]
        table.add_row(*row, f"[red]{', '.join(missed)}[/red]" if missed else "[green]-[/green]")
    return table


def _table(title: str | None = None) -> Table:
    """A narrow table: without a terminal, as in a log, a line has 80 characters."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def _p95(values: list[float | None]) -> str:
    found = Quantiles.of(values)
    return "" if found.p95 is None else f"{found.p95:.0f}"


def _costs(run: Run) -> Table:
    table = _table()
    for name in ("process", "cores", "a session", "queued", "RSS MB", "fullest thread"):
        table.add_column(name, justify="right")
    for name, cost in run.costs.of.items():
        thread, busy = cost.busiest
        table.add_row(
            name,
            f"{cost.cores:.2f}",
            f"{cost.cores / run.load.sessions:.3f}",
            f"{cost.queued:.2f}",
            f"{cost.rss_mb:.0f}",
            f"{thread} {busy:.2f}",
        )
    return table
