"""What the demo says of its numbers, and of the machine they were taken on."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from app.telemetry.logging import configure_logging
from bench.demo.film import Film
from bench.demo.quiet import native_lines_to
from bench.demo.run import conclusion, left_running
from bench.demo.surroundings import Late, Surroundings, watched
from bench.demo.take import _without_collections
from bench.measure.report import Line, at_most, table, timed
from engine.core.cores import throttled_s

GAP = timed([at_most("longest gap", 190, 120, "ms")])
STATE = [Line("session's end", "failed", "ended", False)]
GOOD = timed([at_most("latency", 300, 400, "ms")])
CALM = Surroundings(2, 0.1, 0.0, 0.0, [], realtime=False)


def causes(**more: Any) -> str:
    fields: dict[str, Any] = {
        "cores": 2,
        "others": 0.1,
        "stolen": 0.0,
        "throttled_s": 0.0,
        "late": [],
        "realtime": False,
    }
    return " ".join(Surroundings(**{**fields, **more}).causes())


def test_a_calm_machine_is_no_cause() -> None:
    assert CALM.causes() == []


@pytest.mark.parametrize(
    ("around", "said"),
    [
        ({"others": 1.4}, "Other programs used 1.4 of 2 cores. Close them: ps -eo"),
        ({"stolen": 0.3}, "The host of this virtual machine took 0.30 of its 2 cores"),
        ({"throttled_s": 1.5}, "A CPU limit stopped everything for 1.5 s in all. Raise it"),
        (
            {"late": [Late(1.0, 0.2, 0.19)]},
            "up to 200 ms late (1 times over 30 ms): other programs",
        ),
        ({"late": [Late(1.0, 0.2, 0.0)]}, "the machine itself stood still"),
    ],
)
def test_each_cause_is_named_with_what_mends_it(around: dict[str, Any], said: str) -> None:
    assert said in causes(**around)
    assert "rtprio" in causes(**around)
    assert "rtprio" not in causes(**around, realtime=True)


def test_the_conclusion_tells_the_machines_part_from_ours() -> None:
    assert conclusion(GOOD, []) == ["All numbers are good."]
    (alone,) = conclusion([*GOOD, *GAP], [])
    assert alone == "1 of 2 numbers is not good, and nothing else that ran on this machine " + (
        "explains it."
    )
    excused = conclusion([*GOOD, *GAP], ["Busy."])
    assert excused == [
        "1 of 2 numbers is not good, because this machine did not keep time:",
        "Busy.",
    ]
    ours = conclusion([*GAP, *STATE], ["Busy."])
    assert ours[0] == (
        "2 of 2 numbers are not good; a slow machine does not explain: session's end."
    )


def test_the_table_excuses_only_what_a_machine_can_spoil() -> None:
    def shown(excused: bool) -> str:
        console = Console(width=80, color_system=None)
        with console.capture() as text:
            console.print(table("t", [*GAP, *STATE], excused=excused))
        return text.get()

    assert shown(excused=False).count("FAIL") == 2
    assert shown(excused=True).count("FAIL") == 1
    assert "machine" in shown(excused=True)


def test_a_process_that_waits_tells_when_it_stood_still() -> None:
    command = [sys.executable, "-m", "bench.demo.wakeups"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as waker:  # type: ignore[call-overload]
        while b"select" not in Path(f"/proc/{waker.pid}/wchan").read_bytes() and not _slept(waker):
            time.sleep(0.01)
        waker.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        waker.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        told, _ = waker.communicate(timeout=20)
    late = [Late(*each) for each in json.loads(told)]
    assert max(each.seconds for each in late) > 0.2


def _slept(waker: subprocess.Popen[bytes]) -> bool:
    """Whether it has begun to wait and wake."""
    status = Path(f"/proc/{waker.pid}/status").read_text()
    found = next(line for line in status.splitlines() if line.startswith("voluntary_ctxt"))
    return int(found.split()[1]) > 20


def test_the_surroundings_are_there_after_the_block() -> None:
    with watched() as watch:
        sum(range(100_000))
    assert watch.found is not None
    assert watch.found.cores >= 1
    assert watch.found.others >= 0


@pytest.mark.parametrize(
    ("line", "mount", "folder", "stat"),
    [
        ("0::/", "cgroup2 cgroup2 rw", "sys/fs/cgroup", "throttled_usec 1500000"),
        ("3:cpu:/", "cgroup cgroup rw,cpu", "sys/fs/cgroup/cpu", "throttled_time 1500000000"),
    ],
)
def test_throttled_time_is_read(
    tmp_path: Path, line: str, mount: str, folder: str, stat: str
) -> None:
    own = tmp_path / "proc/self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(f"{line}\n")
    (own / "mountinfo").write_text(f"31 23 0:28 / /{folder} rw - {mount}\n")
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "cpu.stat").write_text(f"nr_throttled 12\n{stat}\n")
    assert throttled_s(tmp_path) == 1.5
    assert throttled_s(tmp_path / "none") == 0.0


def test_a_recording_is_spared_the_walk_over_all_that_was_imported() -> None:
    with _without_collections():
        known = gc.get_freeze_count()
        assert known > 10_000
        assert len(gc.get_objects()) < known / 10  # what a full collection would visit
    assert gc.get_freeze_count() == 0


def test_native_lines_go_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with native_lines_to(tmp_path / "demo.log"):
        os.write(2, b"[OpenH264] this = 0x1, Warning: bad\n")
        sys.stderr.write("a person reads this\n")
    os.write(2, b"again\n")
    assert capfd.readouterr().err == "a person reads this\nagain\n"
    assert (tmp_path / "demo.log").read_text() == "[OpenH264] this = 0x1, Warning: bad\n"


def test_libraries_warnings_stay_out_of_a_command_that_shows_errors_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("json", "error")
    logging.getLogger("livekit").warning("native video stream queue overflow")
    assert capsys.readouterr().err == ""
    configure_logging("json", "info")
    logging.getLogger("livekit").warning("native video stream queue overflow")
    assert "overflow" in capsys.readouterr().err


def test_the_token_is_shown_once(tmp_path: Path) -> None:
    child = SimpleNamespace(pid=7, log=tmp_path / "x.log")
    service: Any = SimpleNamespace(url="http://127.0.0.1:8080", child=child)
    livekit: Any = SimpleNamespace(url="ws://127.0.0.1:7880", child=child)
    assert left_running(service, livekit, "ses_1", "eyJhbGciOiJ9.e30.x").count("eyJhbGciOiJ9") == 1


def test_a_film_that_is_abandoned_leaves_the_one_before(tmp_path: Path) -> None:
    out = tmp_path / "film.mp4"
    out.write_bytes(b"before")
    film = Film(out, 48_000)
    film.picture(0.0, 64, 48, bytes(64 * 48 * 3 // 2))
    film.abandon()
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]
