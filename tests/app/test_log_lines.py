"""Logs stay short and readable, whoever writes what how often."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from typing import Literal

import pytest
import structlog

from app.telemetry.log_lines import LONGEST, Repeats, escaped, json_line
from app.telemetry.logging import configure_logging

Style = Literal["json", "console"]
STYLES: list[Style] = ["json", "console"]


@pytest.mark.parametrize("style", STYLES)
def test_no_line_is_long(style: Style, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(style, "info")
    ours = structlog.get_logger("app.test")
    ours.info("x" * 4_000_000)
    ours.info("said", words="é" * 4_000_000, many={"in": ["y" * 100_000]})
    ours.info("fields", **{f"field{number}": "z" * 500 for number in range(100)})
    logging.getLogger("foreign").warning("%s", "w" * 4_000_000)
    try:
        raise RuntimeError("v" * 4_000_000)
    except RuntimeError:
        ours.exception("failed")
        logging.getLogger("foreign").exception("failed")
    written = capfd.readouterr().err
    assert len(written.encode()) < 100_000
    for line in written.splitlines():
        assert len(line.encode()) <= LONGEST
        if style == "json":
            assert json.loads(line)["event"]


def test_the_end_of_a_traceback_is_kept() -> None:
    fields = {"event": "failed", "exception": "x" * 100_000 + "RuntimeError: why", "level": "error"}
    line = json_line(fields, json.dumps)
    assert len(line) <= LONGEST
    assert json.loads(line)["exception"].endswith("RuntimeError: why")


@pytest.mark.parametrize("style", STYLES)
def test_control_characters_are_shown_and_not_obeyed(
    style: Style, capfd: pytest.CaptureFixture[str]
) -> None:
    evil = "a\x1b[2J\r\nlevel=error b\x07\x7f\x85\u2028\u202e"
    configure_logging(style, "info")
    structlog.get_logger("app.test").info(evil, words=evil)
    logging.getLogger("foreign").warning("%s", evil)
    try:
        raise RuntimeError(evil)
    except RuntimeError:
        logging.getLogger("foreign").exception("failed")
    written = capfd.readouterr().err
    for letter in "\x1b\r\x07\x7f\x85\u2028\u202e":
        assert letter not in written, ascii(letter)
    assert not any(line.startswith("level=error") for line in written.split("\n")[:2])
    assert escaped("\x1b") == "\\x1b"


def test_repeats_are_held_back_and_counted(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    for number in range(1000):
        logging.getLogger("foreign").warning("connection %d failed", number)
    (handler,) = logging.getLogger().handlers
    handler.close()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert len(lines) <= 30
    assert lines[-1]["logger"] == "foreign"
    assert lines[-1]["event"].startswith("9")
    assert "more lines like this were left out: connection # failed" in lines[-1]["event"]


def test_a_summary_comes_each_ten_seconds_and_other_words_meanwhile() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    said = [repeats.allows("foreign", "again") for _ in range(100)]
    assert said.count(True) == Repeats.BURST
    assert repeats.allows("foreign", "something else")
    assert list(repeats.summaries()) == []
    now = 10.0
    assert list(repeats.summaries()) == [("foreign", 80, "again")]
    assert list(repeats.summaries(now=True)) == []
    assert repeats.allows("foreign", "again")


def test_a_library_that_never_repeats_itself_is_limited_too() -> None:
    repeats = Repeats(lambda: 0.0)
    kinds = [chr(97 + number // 26 % 26) + chr(97 + number % 26) for number in range(600)]
    said = [repeats.allows("foreign", f"{kind} {kind}") for kind in kinds * 20]
    assert said.count(True) <= 10 * Repeats.BURST


def test_what_strangers_call_things_does_not_fill_the_log() -> None:
    """LiveKit's library writes to the root logger about each stream that nobody takes."""
    repeats = Repeats(lambda: 0.0)
    for quote in "'\"":
        words = f"ignoring text stream with topic {quote}%s{quote}, no callback attached"
        topics = ("".join(chr(97 + n // 26**k % 26) for k in range(4)) + "' 'x" for n in range(600))
        said = [repeats.allows("root", words % topic) for topic in topics]
        assert said.count(True) <= Repeats.BURST


def test_sessions_of_ours_are_not_held_back() -> None:
    repeats = Repeats(lambda: 0.0)
    assert all(repeats.allows("app.sessions.registry", "session ready") for _ in range(300))


def test_warnings_are_log_lines(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("the key is short", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = capfd.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["logger"], found["level"]) == ("py.warnings", "warning")
    assert "the key is short" in found["event"]


NATIVE = """
import os, sys, logging, ctypes
from app.telemetry.native_stderr import logged_stderr
with logged_stderr({style!r}, "info", "host-1"):
    logging.getLogger("app").warning("of the log")
    os.write(2, b"[OpenH264] this = 0x1, Warning: \\x1b[31mbitstream\\n")
    os.write(2, b"y" * 100_000 + b"\\nafter it\\n")
    print("a library prints", file=sys.stderr)
    for number in range(1000):
        os.write(2, b"again %d\\n" % number)
    {then}
"""


def native(style: str, then: str = "pass") -> tuple[int, list[str]]:
    code = NATIVE.format(style=style, then=then)
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=60, check=False
    )
    return done.returncode, done.stderr.decode().splitlines()


def test_what_native_code_writes_is_json_like_the_rest() -> None:
    status, lines = native("json")
    assert status == 0
    found = [json.loads(line) for line in lines]
    events = [each["event"] for each in found]
    assert "of the log" in events
    assert "[OpenH264] this = 0x1, Warning: \x1b[31mbitstream" in events
    assert "a library prints" in events
    assert "after it" in events
    assert all(len(line) <= LONGEST for line in lines)
    assert len(lines) < 40
    native_lines = [each for each in found if each["logger"] == "stderr"]
    assert {each["process"] for each in native_lines} == {"host-1"}
    assert all({"level", "timestamp"} <= set(each) for each in native_lines)
    assert any("more lines like this were left out" in event for event in events)


def test_on_a_terminal_it_is_escaped() -> None:
    status, lines = native("console")
    assert status == 0
    assert any("Warning: \\x1b[31mbitstream" in line for line in lines)


@pytest.mark.parametrize(
    ("then", "number"),
    [("os.abort()", signal.SIGABRT), ("ctypes.string_at(0)", signal.SIGSEGV)],
)
def test_the_last_words_of_a_crash_are_not_lost(then: str, number: int) -> None:
    said = "os.write(2, b'thread panicked: last words\\n'); "
    status, lines = native("json", said + then)
    assert status == -number
    assert "thread panicked: last words" in [json.loads(line)["event"] for line in lines]


def test_a_traceback_at_the_end_is_as_ever() -> None:
    status, lines = native("json", "raise RuntimeError('why')")
    assert status == 1
    assert lines[-1] == "RuntimeError: why"
    assert "Traceback (most recent call last):" in lines


@pytest.mark.slow
def test_a_process_that_outlives_it_holds_nothing_up() -> None:
    """A program that we started keeps standard error; the end does not wait for its."""
    status, lines = native("json", "import subprocess; subprocess.Popen(['sleep', '5'])")
    assert status == 0
    assert "of the log" in [json.loads(line)["event"] for line in lines[:1]]


def test_a_folder_with_modules_of_the_same_names_is_not_read(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # noqa: PTH109
    for name in ("app.py", "json.py", "signal.py"):
        with open(os.path.join(tmp_path, name), "w") as file:  # noqa: PTH118, PTH123
            file.write("raise SystemExit('of the folder')")
    command = [sys.executable, "-P", "-c", NATIVE.format(style="json", then="pass")]
    done = subprocess.run(command, stderr=subprocess.PIPE, cwd=tmp_path, timeout=60, check=False)
    assert b"of the folder" not in done.stderr
    assert b"a library prints" in done.stderr
