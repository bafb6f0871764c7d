"""A process that used LiveKit's library ends with its own code, whatever that is doing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A thread of the library's is still in a call when Python is taken apart, which takes a while.
LATE = """
import atexit, sys, threading, time
from livekit.rtc import _ffi_client as ffi

calling = threading.Event()

def slowly(level):
    calling.set()
    time.sleep(0.5)

class Stays:
    def __del__(self, pause=time.sleep):
        pause(1.5)

ffi.to_python_level = slowly
sys.stays = Stays()  # among the last to go

def call():
    ffi.FfiClient.instance
    assert calling.wait(20)
"""
PROCESS = (
    LATE
    + """
from app.rtc.exit import ended_by

def main():
    call()
    atexit.register(print, "and its last word", end="")
    print("what was said")
    {end}

ended_by(main)
"""
)
SUITE = (
    LATE
    + """
def test_that_fails():
    call()
    assert not "good"
"""
)


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("pass", 0, ""),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('No.')", 1, "No."),
        ("1 / 0", 1, "ZeroDivisionError"),
    ],
)
def test_a_late_call_from_the_library_changes_no_exit_code(end: str, code: int, told: str) -> None:
    program = [sys.executable, "-c", PROCESS.format(end=end)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "what was said\nand its last word"), done.stderr
    assert told in done.stderr


@pytest.mark.slow
def test_a_run_of_tests_ends_with_its_own_code_and_closing_line(tmp_path: Path) -> None:
    suite = tmp_path / "test_late.py"
    suite.write_text(SUITE)
    options = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "tests.conftest"]
    program = [sys.executable, "-m", "pytest", *options, str(suite)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 failed in ")


def test_output_that_nobody_takes_is_an_error() -> None:
    program = [sys.executable, "-c", PROCESS.format(end="pass")]
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        child.wait(60)
        assert child.stderr is not None
        assert b"could not be written" in child.stderr.read()
    assert child.returncode == 120


def test_a_process_without_the_library_ends_as_any_other() -> None:
    program = (
        "from app.rtc.exit import ended_by\n"
        "class Stays:\n"
        "    def __del__(self): print('taken apart')\n"
        "stays = Stays()\n"
        "ended_by(lambda: None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "taken apart\n"
