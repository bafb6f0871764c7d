"""What the benchmark of sessions makes of what it counted: moments, numbers, a page."""

import asyncio
import gc
import re
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.telemetry.loop_lag import LoopLagCollector, watch_loop_lag
from bench.measure.turns import WINDOW_S, Loudness, levels_of
from bench.report import plots
from bench.report.columns import columns
from bench.report.page import page
from bench.rooms.loop_lag import pulses, scrape
from bench.rooms.rooms import room
from tests.bench.bench_runs import GOOD
from tests.bench.test_measure_bench import run_with

RATE = 48_000
STATS = {
    "fps": 25.0,
    "lateness_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
    "repeated_frames": 1,
    "dropped_frames": 0,
}


def heard(loud: list[tuple[float, float]], seconds: float, late: float = 0.0) -> Loudness:
    """Sound between some moments, in pieces of 20 ms, of which some are stamped late."""
    pieces = round(seconds / 0.02)
    starts = np.arange(pieces)[:, None] * 0.02 + np.arange(4) * WINDOW_S
    levels = np.zeros(starts.shape)
    for first, last in loud:
        levels[(starts >= first - 1e-9) & (starts < last - 1e-9)] = 0.1
    arrivals = 100.0 + np.arange(pieces) * 0.02
    arrivals[::3] += late
    return Loudness.of(arrivals.tolist(), list(levels))


@pytest.mark.parametrize("late", [0.0, 0.03])
def test_a_turn_is_heard_from_its_first_window(late: float) -> None:
    sound = heard([(1.2, 3.0)], 4.0, late)
    assert sound.first_heard(101.0, 102.0) == pytest.approx(101.2, abs=1e-6)
    assert sound.first_heard(103.2, 103.9) is None


def test_an_interrupted_turn_falls_silent_after_its_last_window() -> None:
    assert heard([(0.5, 2.1)], 4.0).last_heard(102.0) == pytest.approx(102.1, abs=1e-6)
    assert heard([(0.5, 4.0)], 4.0).last_heard(102.0) == float("inf")
    assert heard([(0.0, 0.5)], 4.0).last_heard(102.0) is None
    assert heard([(0.5, 1.9)], 4.0).last_heard(102.0) == 102.0


def test_levels_are_of_windows_of_5_ms() -> None:
    square = np.tile(np.array([3277, -3277], np.int16), RATE // 2)
    levels = levels_of(square, RATE)
    assert len(levels) == 200
    assert levels == pytest.approx(0.1, abs=1e-4)


def test_a_counted_room_becomes_numbers() -> None:
    pictures = 50.0 + np.arange(1, 251) * 0.04
    pictures[100:] += 0.07
    body = {
        "since": 50.0,
        "pictures": pictures.tolist(),
        "skews": [[51.0, 0.004], [52.0, -0.01], [53.0, 0.006]],
        "bytes": 750_000,
        "sounds": 495,
        "lost": 5,
    }
    found = room(body, [STATS, STATS], None)
    assert found.gaps == {"60": 1, "100": 1, "200": 0}
    assert found.longest_gap_ms == pytest.approx(110)
    assert found.received_fps == pytest.approx(249 / 10.03, abs=0.01)
    assert found.sound_lost == pytest.approx(0.01)
    assert found.av_p50_ms == pytest.approx(4.0)
    assert found.av_p95_ms == pytest.approx(9.6)
    assert found.kbit_s == pytest.approx(600, rel=0.02)
    assert found.repeated == 2
    assert len(found.over) == len(found.gap_over) == 10
    assert found.gap_over[4] == pytest.approx(110)


def test_a_room_without_pictures_misses_its_limits() -> None:
    nothing = {"since": 1.0, "pictures": [], "skews": [], "bytes": 0, "sounds": 0, "lost": 0}
    found = room(nothing, [STATS], None)
    assert found.received_fps == 0
    assert found.longest_gap_ms == float("inf")
    assert found.sound_lost == 1.0


async def test_a_held_up_loop_and_its_collections_show_on_the_page() -> None:
    registry = CollectorRegistry()
    with watch_loop_lag() as found:
        registry.register(LoopLagCollector(lambda: {"service": found}))
        before = scrape(0.0, generate_latest(registry).decode())
        await asyncio.sleep(0.15)
        gc.collect()
        done = asyncio.get_running_loop().time() + 0.25
        while asyncio.get_running_loop().time() < done:
            pass  # what a blocking call does to the loop
        await asyncio.sleep(0.15)
        after = scrape(2.0, generate_latest(registry).decode())
    seen = pulses([before, after])["service"]
    assert seen.lag.count >= 2
    assert seen.lag.longest is None or seen.lag.longest >= 120
    assert seen.pauses.count >= 1
    assert seen.times == [2.0]
    count = len(gc.callbacks)
    with watch_loop_lag():
        assert len(gc.callbacks) == count + 1
    assert len(gc.callbacks) == count


def test_a_report_stands_alone_and_tells_all() -> None:
    spoke = replace(GOOD, turns=[210.0, 190.0], interrupts=[90.0, 100.0, None])
    run = run_with(1.0, 0.4, 1.2)
    run = replace(run, rooms=[spoke, GOOD], load=replace(run.load, source="agent"))
    few = replace(run_with(0.5, 0.2, 0.6), rooms=[GOOD])
    text = page([few, run], {"Processor": "2 × <fast>"}, datetime(2026, 1, 2, tzinfo=UTC), 3)
    assert "2 × &lt;fast&gt;" in text
    assert "3 sessions hold" in text
    assert "02 January 2026" in text
    assert not re.search(r"https?://|<script|@import|url\((?!#)", text)
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(figures) >= 6
    for figure in figures:
        ElementTree.fromstring(figure)


def test_a_report_escapes_what_it_is_given() -> None:
    bad = "</code><script>alert(1)</script>"
    process = run_with(1.0, 0.4, 1.2).costs.of["service"]
    run = run_with(1.0, 0.4, 1.2)
    run = replace(run, costs=replace(run.costs, of={f"host {bad}": process}))
    text = page([run], {"Command": bad}, datetime(2026, 1, 2, tzinfo=UTC))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 3  # the fact, the table, the sentence on the limit


def test_a_report_of_the_same_runs_is_the_same_file() -> None:
    began = datetime(2026, 1, 2, tzinfo=UTC)
    run = run_with(1.0, 0.4, 1.2)
    assert page([run], {}, began) == page([run], {}, began)


def test_holes_and_thresholds_in_plots() -> None:
    curve = plots.Curve("a & b", [1.0, 2.0, 3.0, 4.0], [1.0, None, 3.0, 4.0])
    limit = plots.Threshold(5.0, "limit 5 ms")
    drawn = plots.curves("t", [curve, curve], unit="ms", threshold=limit)
    assert drawn is not None
    paths = [path.get("d", "") for path in ElementTree.fromstring(drawn.inline).iter("path")]
    broken = [path for path in paths if path.count("M") == 2]
    assert len(broken) == 2  # either curve begins again after its hole
    assert "a &amp; b" in drawn.inline
    assert "limit 5 ms" in drawn.inline
    bars = plots.bars("t", [("7", 80.0, True)], unit="ms", threshold=limit)
    assert bars is not None
    assert "limit 5 ms" in bars.inline
    turns = plots.histogram("t", [1.0, 1.1, 9.0], unit="ms", threshold=limit)
    assert turns is not None
    assert turns.inline.count(plots.COLOURS[0]) >= 2


def test_nothing_gives_no_plot() -> None:
    assert plots.curves("t", [plots.Curve("x", [], [])], unit="") is None
    assert plots.histogram("t", [], unit="ms") is None
    assert plots.bars("t", [], unit="ms") is None


def test_a_plot_has_neither_date_nor_address_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = plots.Curve("$x$", [1.0, 2.0], [1.0, 2.0])
    first = plots.curves("$t$", [curve, curve], unit="ms")
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9.0)  # as a matplotlibrc would
    assert plots.curves("$t$", [curve, curve], unit="ms") == first
    assert first is not None
    assert "$t$" in first.svg  # a name, not a formula
    assert not re.search(r"<metadata|dc:date|https?://(?!www\.w3\.org/)", first.svg)


def test_columns_are_aligned_and_taken_literally() -> None:
    text = columns(["batch", "[b] ms"], [["1", "2.50"], ["16", "-"]])
    assert text.splitlines() == ["batch  [b] ms", "    1    2.50", "   16       -"]
