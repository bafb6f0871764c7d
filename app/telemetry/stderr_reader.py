"""Writes standard input, line by line, as lines of a log.

`python -m app.telemetry.stderr_reader STYLE PROCESS`, started by `native_stderr.py`; ends when
nobody holds the other end. Of the standard library alone, so that it starts at once and stays
small.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from app.telemetry.log_lines import LONGEST, Repeats, escaped, fitting, json_line
from app.telemetry.redact import without_answers, without_tokens

LOGGER = "stderr"


def lines(source: BinaryIO) -> Iterator[str]:
    """As they come; what follows in a line that is too long is left out, wherever it ends."""
    skipping = False
    while line := source.readline(4 * LONGEST):
        if not skipping and line.strip():
            yield line.decode("utf-8", "replace").rstrip("\r\n")
        skipping = not line.endswith(b"\n")


def log_line(text: str, style: str, process: str) -> str:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    text = without_tokens(without_answers(text))
    if style == "console":
        return fitting(f"{now} [warning] {escaped(text)} [{LOGGER}]")
    fields = {"event": text, "level": "warning", "logger": LOGGER, "timestamp": now}
    return json_line(fields | ({"process": process} if process else {}), json.dumps)


def main(style: str, process: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever writes ends first
    repeats = Repeats()

    def write(text: str) -> None:
        os.write(2, log_line(text, style, process).encode() + b"\n")

    def tell(*, now: bool = False) -> None:
        for _, count, message in repeats.summaries(now=now):
            write(f"{count} more lines like this were left out: {message}")

    for text in lines(sys.stdin.buffer):
        tell()
        if repeats.allows(LOGGER, text):
            write(text)
    tell(now=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
