"""The parts of the benchmarks that can be told right or wrong without measuring."""

import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from app.shipped import SAMPLE
from bench.measure.pace import widest_gap
from bench.measure.report import at_least, at_most, passed, within
from bench.measure.speech import read_wav, talk
from bench.report.show import limit, notes, verdict
from bench.rooms.cycles import Cycles, Held
from bench.rooms.limits import limits
from bench.rooms.plan import Load
from bench.rooms.sampler import Cost, Costs, Sampler, role
from bench.rooms.search import find_max
from bench.rooms.sessions import Run
from tests.bench.bench_runs import GOOD

USUAL = limits()


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
    minutes = list(itertools.islice(talk(pcm, rate, duty, 5), 25 * 300))
    loud = [float(np.sqrt(np.mean(np.square(p / 32768.0)))) >= 0.01 for p in minutes]
    assert np.mean(loud) == pytest.approx(duty, abs=0.02)
    assert all(len(piece) == rate * 0.04 for piece in minutes)


def test_rooms_do_not_speak_in_step() -> None:
    pcm, rate = read_wav(SAMPLE)
    rooms = [itertools.islice(talk(pcm, rate, 0.5, 97 * room), 25 * 300) for room in range(20)]
    speaking = np.sum([[piece.any() for piece in room] for room in rooms], axis=0)
    assert np.mean(speaking) == pytest.approx(10, abs=0.5)
    assert speaking.min() < 7 < 13 < speaking.max()


def test_each_limit_counts() -> None:
    assert GOOD.missed(20, USUAL) == []
    assert replace(GOOD, received_fps=24.7).missed(20, USUAL) == ["fps"]
    assert replace(GOOD, longest_gap_ms=float("inf")).missed(20, USUAL) == ["gap"]
    assert replace(GOOD, lateness_p99_ms=float("nan")).missed(20, USUAL) == ["late"]
    assert replace(GOOD, repeated=4, dropped=2).missed(20, USUAL) == ["fresh"]
    assert replace(GOOD, repeated=4, dropped=1).missed(20, USUAL) == []
    assert replace(GOOD, av_p95_ms=46.0).missed(20, USUAL) == ["av"]


def test_limits_can_be_changed_by_name() -> None:
    wider = limits(["gap=120", "fps=20"])
    late = replace(GOOD, longest_gap_ms=110.0, received_fps=21.0)
    assert late.missed(20, USUAL) == ["fps", "gap"]
    assert late.missed(20, wider) == []
    with pytest.raises(ValueError, match="there are fps, gap, turn"):
        limits(["gaps=3"])
    with pytest.raises(ValueError, match="as gap=100"):
        limits(["gap=wide"])


def test_turns_count_together_and_only_where_there_are_any() -> None:
    run = run_with(1.0, 0.4, 1.0)
    assert run.failed == []
    assert run.unmeasured == ["turn", "interrupt", "growth"]
    slow = replace(GOOD, turns=[200.0, 300.0], interrupts=[90.0])
    assert replace(run, rooms=[slow, GOOD]).failed == ["turn"]
    silent = replace(GOOD, turns=[200.0], interrupts=[90.0, None])
    assert replace(run, rooms=[silent]).failed == ["interrupt"]
    assert replace(run, rooms=[replace(GOOD, unfinished=1)]).failed == ["turn"]
    assert "turn start p95 ≤ 250 ms" in verdict(replace(run, rooms=[slow]))
    assert any("not measured" in note for note in notes(run))


def run_with(service: float, busiest: float, machine: float) -> Run:
    by_thread = {"event loop": busiest}
    busy = ("event loop", busiest)
    cost = Cost(
        "service", service, 100.0, 0.0, 0.0, 0.0, busy, by_thread, [1.0], [service], [100.0]
    )
    costs = Costs({"service": cost}, machine, 2, 0.0)
    return Run(Load(3, 20), [GOOD] * 3, costs, {}, [0.5])


def test_memory_counts_in_long_runs_for_the_whole_service() -> None:
    run = run_with(1.0, 0.4, 1.0)
    half = replace(run.costs.of["service"], rss_mb_per_h=11.0)
    people = replace(half, root="people", rss_mb_per_h=500.0)
    costs = replace(run.costs, of={"service": half, "host 1": half, "people": people})
    grown = replace(run, costs=costs, load=replace(run.load, seconds=3600))
    assert grown.failed == ["growth"]
    assert "≤ 20 MB/h" in verdict(grown)
    assert replace(grown, load=run.load).failed == []  # seconds tell nothing of growth
    assert replace(grown, costs=replace(costs, of={"service": half})).failed == []


def test_what_limits_is_named() -> None:
    assert "one thread of service: event loop" in limit(run_with(1.2, 0.95, 1.4))
    assert "by the machine: all of 2 cores" in limit(run_with(1.9, 0.4, 1.95))
    assert "others 0.95" in limit(run_with(1.0, 0.4, 1.95))  # others filled it: no limit of ours
    assert "Limited" not in limit(run_with(1.0, 0.4, 1.95))
    assert "Limited" not in limit(run_with(0.5, 0.2, 0.6))


def test_a_busy_process_is_seen_working() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        sampler = Sampler({"child": child.pid})
        while (cost := sampler.costs().of["child"]).cores <= 0.05:
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    assert cost.busiest[0] == "event loop"
    assert cost.rss_mb > 1


def test_who_waits_for_a_core_is_seen_waiting() -> None:
    """Two that never rest, on one core: each waits while the other has it."""
    one_core = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    busy = [sys.executable, "-c", f"{one_core}\nprint('up', flush=True)\nwhile True: pass"]
    children = [subprocess.Popen(busy, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        sampler = Sampler({str(child.pid): child.pid for child in children})
        time.sleep(0.5)
        costs = sampler.costs().of.values()
    finally:
        for child in children:
            with child:
                child.kill()
    assert sum(cost.queued for cost in costs) > 0.5
    assert all(cost.faults >= 0 for cost in costs)


def test_children_are_followed_by_their_role() -> None:
    script = (
        "import subprocess, sys; "
        "code = 'print(1, flush=True)\\nwhile True: pass'; "
        "argv = [sys.executable, '-c', code, '--role', 'host']; "
        "children = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(2)]; "
        "[child.stdout.readline() for child in children]; "
        "print('up', flush=True); sys.stdin.read(); [child.kill() for child in children]"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        sampler = Sampler({"service": parent.pid})
        time.sleep(0.3)
        costs = sampler.costs()
        parent.communicate()
    assert list(costs.of) == ["service", "host 1", "host 2"]


def test_a_child_that_is_no_program_yet_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(psutil.Process, "cmdline", lambda _: [])
            sampler = Sampler({"service": os.getpid()})
        assert sampler.names == ["service"]
        assert len(Sampler({"service": os.getpid()}).names) > 1
    finally:
        child.communicate()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "-m", "app.worker", "--role", "host", "--socket", "x"], "host"),
        (["voipavatar", "serve", "--role=engine"], "engine"),
        (["python", "-m", "app.worker.main"], "worker"),
        (["python", "-m", "app.worker", "host", "host-1", "14"], "host"),
        (["python", "-c", "from multiprocessing.resource_tracker import main"], "resource_tracker"),
        (["livekit-server"], ""),
    ],
)
def test_a_role_is_read_from_a_command_line(command: list[str], expected: str) -> None:
    assert role(command) == expected


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
