"""The parts of the benchmarks that can be told right or wrong without measuring."""

import itertools
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from app.bench.cycles import Cycles, Held
from app.bench.sampler import Cost, Costs, Sampler
from app.bench.search import find_max
from app.bench.sessions import Load, Room, Run
from app.bench.show import limit
from app.measure.pace import widest_gap
from app.measure.report import at_least, at_most, passed, within
from app.measure.speech import SAMPLE, read_wav, talk

GOOD = Room(25.0, 60.0, None, 0.0, 25.0, 1.0, 3.0, 6.0, 0, 0)


@pytest.mark.parametrize("first", [1, 4, 20])
@pytest.mark.parametrize("holds", [0, 1, 3, 7, 8, 40])
async def test_the_most_that_hold_are_found(first: int, holds: int) -> None:
    tried: list[int] = []

    async def passes(number: int) -> bool:
        tried.append(number)
        return number <= holds

    assert await find_max(first, passes) == holds
    assert len(tried) == len(set(tried)) <= 14


def test_the_widest_gap_is_bounded_by_sums() -> None:
    even = np.full(12, 0.04)
    assert widest_gap(12, even.sum(), np.square(even).sum()) == pytest.approx(0.04)
    one = np.append(even, 0.2)
    assert widest_gap(13, one.sum(), np.square(one).sum()) == pytest.approx(0.2)
    chance = np.random.default_rng(1)
    for _ in range(50):
        gaps = chance.uniform(0.02, 0.08, 12)
        assert widest_gap(12, gaps.sum(), np.square(gaps).sum()) >= gaps.max()


@pytest.mark.parametrize("duty", [1.0, 0.5, 0.25])
def test_talk_keeps_its_duty_and_leaves_out_pauses(duty: float) -> None:
    pcm, rate = read_wav(SAMPLE)
    minute = list(itertools.islice(talk(pcm, rate, duty, 5), 25 * 64))
    loud = [float(np.sqrt(np.mean(np.square(p / 32768.0)))) >= 0.01 for p in minute]
    assert np.mean(loud) == pytest.approx(duty, abs=0.01)
    assert all(len(piece) == rate * 0.04 for piece in minute)


def test_each_limit_counts() -> None:
    assert GOOD.missed(20) == []
    assert replace(GOOD, received_fps=24.7).missed(20) == ["fps"]
    assert replace(GOOD, longest_gap_ms=float("inf")).missed(20) == ["gap"]
    assert replace(GOOD, lateness_p99_ms=float("nan")).missed(20) == ["late"]
    assert replace(GOOD, repeated=4, dropped=2).missed(20) == ["fresh"]
    assert replace(GOOD, repeated=4, dropped=1).missed(20) == []


def run_with(service: float, busiest: float, machine: float) -> Run:
    cost = Cost(service, 100.0, ("event loop", busiest), {"event loop": busiest})
    costs = Costs({"service": cost}, machine, 2)
    return Run(Load(3, 20, "default", None, 1.0, False), [GOOD] * 3, costs, [1.0], [0.5])


def test_what_limits_is_named() -> None:
    assert "one thread of the service: event loop" in limit(run_with(1.2, 0.95, 1.4))
    assert "by the machine: all of 2 cores" in limit(run_with(1.9, 0.4, 1.95))
    assert "others 0.95" in limit(run_with(1.0, 0.4, 1.95))  # others filled it: no limit of ours
    assert "Limited" not in limit(run_with(1.0, 0.4, 1.95))
    assert "Limited" not in limit(run_with(0.5, 0.2, 0.6))


def test_a_busy_process_is_seen_working() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        sampler = Sampler({"child": [child.pid]})
        time.sleep(0.5)
        cost = sampler.costs().of["child"]
    finally:
        child.kill()
        child.wait()
    assert cost.cores > 0.05
    assert cost.busiest[0] == "event loop"
    assert cost.rss_mb > 1


def test_what_a_cycle_leaves_behind_fails() -> None:
    held = [Held(50, 200.0, 20, 30, 3), Held(100, 205.0, 21, 31, 3), Held(200, 215.0, 22, 32, 3)]
    assert passed(Cycles(held, 0, 0).lines())
    assert Cycles(held, 0, 0).rss_slope_kb == pytest.approx(102.4)
    for leak in ({"threads": 170}, {"files": 180}, {"tasks": 4}):
        assert not passed(Cycles([*held[:2], replace(held[2], **leak)], 0, 0).lines())
    assert not passed(Cycles(held, 1, 0).lines())
    assert not passed(Cycles(held, 0, 1).lines())


def test_unknown_values_do_not_pass() -> None:
    nan, never = float("nan"), float("inf")
    assert not at_most("x", nan, 1, "ms").passed
    assert at_most("x", never, 1, "ms").value == "never"
    assert not at_least("x", nan, 1).passed
    assert not within("x", nan, 25, 0.2, "", 2).passed
    assert within("x", 25.2, 25, 0.2, "", 2).passed
