"""`bench sessions` around its runs: what is asked of a number, what is kept of a broken-off search.

The runs themselves are made up here; tests/bench/test_bench_sessions.py measures real ones.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.report import show
from bench.rooms import run as bench
from bench.rooms import sessions
from bench.rooms.plan import BenchError, Load, Rig
from bench.rooms.sessions import Run
from tests.bench.bench_runs import GOOD
from tests.bench.test_measure_bench import run_with

LATE = replace(GOOD, received_fps=20.0, longest_gap_ms=1234.0, repeated=4321)


def measured(load: Load, *, holds: bool) -> Run:
    return replace(
        run_with(1.0, 0.4, 1.2), load=load, rooms=[GOOD if holds else LATE] * load.sessions
    )


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many sessions each run was; four hold, unless it is the third time."""
    tried: list[int] = []

    async def run(load: Load, _rig: Rig) -> Run:
        tried.append(load.sessions)
        return measured(load, holds=load.sessions <= 4 and tried.count(load.sessions) < 3)

    monkeypatch.setattr(sessions, "run", run)
    return tried


async def searched(folder: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    file = folder / "found.json"
    load = Load(2, 10, receiver="sdk")
    asked = {"find_max": True, "json_file": file, "html_file": folder / "r.html", **more}
    code = await bench.bench_sessions(load, Rig(), **asked)
    return code, json.loads(file.read_text())


async def test_a_search_tells_the_most_that_hold(tried: list[int], tmp_path: Path) -> None:
    code, found = await searched(tmp_path)
    assert tried == [2, 3, 4, 6, 5]
    assert (code, found["held"], found["passed"], found["complete"]) == (0, 4, True, True)
    assert (tmp_path / "r.html").read_text().count("<svg")


@pytest.mark.parametrize(("times", "held"), [(2, 4), (3, 0)])
async def test_a_number_has_to_hold_each_time(
    times: int, held: int, tried: list[int], tmp_path: Path
) -> None:
    code, found = await searched(tmp_path, times=times)
    assert (code, found["held"]) == (0 if held else 1, held)
    assert tried.count(2) == times
    assert tried.count(6) == (1 if held else 0)  # once is enough to see that it does not


@pytest.mark.parametrize("ends", [asyncio.CancelledError, BenchError])
async def test_what_was_measured_before_the_end_is_kept(
    ends: Callable[[str], BaseException],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run(load: Load, _rig: Rig) -> Run:
        if load.sessions > 3:
            raise ends("no more")
        return measured(load, holds=True)

    monkeypatch.setattr(sessions, "run", run)
    try:
        code, _ = await searched(tmp_path)
    except asyncio.CancelledError:
        code = 1
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == 1
    assert [each["load"]["sessions"] for each in found["runs"]] == [2, 3]
    assert (found["held"], found["passed"], found["complete"]) == (3, False, False)
    assert "at least 3 sessions hold" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text()
    assert "at least 3 sessions hold" in page
    assert ">stopped</span>" in page


async def test_nothing_is_written_where_nothing_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def run(_load: Load, _rig: Rig) -> Run:
        raise BenchError("no server")

    monkeypatch.setattr(sessions, "run", run)
    with pytest.raises(FileNotFoundError):
        await searched(tmp_path)


def test_a_table_is_whole_at_80_columns() -> None:
    load = Load(12, 20, source="agent")
    worst = replace(LATE, gaps={"60": 505, "100": 114, "200": 99}, turns=[1234.0, 1200.0])
    worst = replace(worst, lateness_p99_ms=123.4, interrupts=[1000.0], sent_fps=19.0)
    out = Console(file=io.StringIO(), width=80, color_system=None)
    show.show(replace(run_with(1.0, 0.4, 1.2), load=load, rooms=[worst] * 12), out)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert all(
        word in text for word in ("505/114/99", "1.0/123.4", "4321/0", "1232", "1000", "fps, gap")
    )
