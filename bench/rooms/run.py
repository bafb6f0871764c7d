"""The benchmarks as commands: progress, tables, JSON, exit codes."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from app.cli.output_files import write_json, write_page
from app.config import settings
from app.shipped import SAMPLE
from bench.devstack import LocalError, prepare_persona
from bench.engine import warp
from bench.measure import report
from bench.report import machine, show
from bench.rooms import cycles, sessions
from bench.rooms.plan import BenchError, Load, Rig
from bench.rooms.search import find_max as search
from bench.rooms.sessions import Run
from engine.core.engine_errors import EngineError
from engine.core.types import SAMPLE_RATE
from engine.media.video import read_audio

# The commands, as their files name them.
SESSIONS, CYCLES, WARP = (f"voipavatar bench {name}" for name in ("sessions", "cycles", "warp"))
FAULTS = (BenchError, LocalError, EngineError)


async def bench_sessions(
    load: Load,
    rig: Rig,
    *,
    find_max: bool,
    times: int = 1,
    json_file: Path | None,
    html_file: Path | None,
) -> int:
    """0 when all sessions hold; with `find_max`, when at least one does. 1 otherwise.

    What was measured is written even if it is stopped, or something fails later.

    Args:
        times: how many runs in a row a number of sessions must pass.
    """
    console = Console()
    runs: list[Run] = []
    held: list[int] = []
    began = datetime.now(UTC)
    load = await sessions.able(load, rig)

    async def passes(number: int) -> bool:
        for turn in range(times):
            if times > 1:
                console.print(f"Run {turn + 1} of {times}:", highlight=False)
            with console.status(f"{show.counted(number)} for {load.seconds:g} s …"):
                runs.append(await sessions.run(replace(load, sessions=number), rig))
            show.show(runs[-1], console)
            if runs[-1].failed:
                return False
        held.append(number)
        return True

    complete = False
    try:
        await (search(load.sessions, passes) if find_max else passes(load.sessions))
        complete = True
    except FAULTS as error:
        console.print(f"[red]{error}[/red]", highlight=False)
    except asyncio.CancelledError:
        console.print("Stopped." if runs else "Stopped before anything was measured.")
        raise
    finally:  # keep what was measured before a search was stopped
        if runs:
            most = max(held, default=0) if find_max else None
            if find_max:
                stopped = "" if complete else "Not complete: at least "
                console.print(f"[bold]{stopped}{show.holding(most or 0)}.[/bold]")
            body = {"passed": complete and bool(held), "complete": complete}
            facts = machine.facts(rig)
            _write(json_file, body | _told(runs, facts, began, most), SESSIONS)
            if html_file is not None:
                from bench.report import page  # matplotlib takes a second to import

                shown = page.page(runs, facts, began, most, complete=complete)
                write_page(html_file, shown, SESSIONS)
                console.print(f"Report: {html_file}", highlight=False)
    return 0 if complete and held else 1


def _told(
    runs: list[Run], facts: dict[str, str], began: datetime, held: int | None
) -> dict[str, Any]:
    """As JSON; `held` where it was searched for."""
    body = {
        "runs": [show.as_json(run) for run in runs],
        "machine": facts,
        "began": began.isoformat(timespec="seconds"),
    }
    return body if held is None else body | {"held": held}


async def bench_cycles(count: int, persona: str, *, json_file: Path | None) -> int:
    """0 if the sessions left nothing behind."""
    console = Console()
    try:
        with console.status(f"{count} sessions created and deleted …"):
            found = await cycles.run(count, persona)
    except FAULTS as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    lines = found.lines()
    console.print(report.table(f"{count} create/delete cycles", lines))
    passed = report.passed(lines)
    held = [asdict(held) for held in found.held]
    _write(json_file, {"passed": passed, "lines": report.as_json(lines), "held": held}, CYCLES)
    return 0 if passed else 1


async def bench_warp(persona: str, size: tuple[int, int] | None, *, json_file: Path | None) -> int:
    """0 if it could be measured."""
    console = Console()
    try:
        with console.status("Painting …"):
            prepared = await prepare_persona(settings().data_dir, persona, size)
            speech = await asyncio.to_thread(read_audio, SAMPLE, SAMPLE_RATE)
            found = await asyncio.to_thread(warp.bench, prepared, speech)
    except EngineError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    console.print(warp.table(found), highlight=False)
    _write(json_file, asdict(found), WARP)
    return 0


def _write(file: Path | None, body: dict[str, Any], maker: str) -> None:
    if file is not None:
        write_json(file, body, maker)
