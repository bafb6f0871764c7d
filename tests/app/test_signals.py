"""Signals before the service has started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

STUCK = """
import asyncio, sys, time
from app.process.signals import EndedAtStart, interruptible_start

async def main():
    with interruptible_start():
        print("starting", flush=True)
        await asyncio.to_thread(time.sleep, 600)  # as an engine that warms up

try:
    asyncio.run(main())
except EndedAtStart as end:
    sys.exit(end.status)
"""

AS_INIT = """
import os, time
os.getpid = lambda: 1
from app.process.signals import obey_as_init
obey_as_init()
print("starting", flush=True)
time.sleep(600)
"""


def started(*command: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **(env or {})}
    )


@pytest.mark.parametrize(
    ("code", "signals", "status"),
    [
        (STUCK, [signal.SIGTERM], 0),
        (STUCK, [signal.SIGINT], 130),
        (STUCK, [signal.SIGTERM, signal.SIGTERM], 143),
        # What the kernel does for every process but PID 1, which would go on.
        (AS_INIT, [signal.SIGTERM], 143),
    ],
)
def test_a_start_that_is_stuck_ends(code: str, signals: list[signal.Signals], status: int) -> None:
    with started(sys.executable, "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        for number in signals:
            process.send_signal(number)
        ended = process.wait(30)
    # Of two signals that come at once the second may find the end of the first already there.
    assert ended in {status, 0 if len(signals) > 1 else status}


def test_serve_ends_while_its_database_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        command = [sys.executable, "-c", "from app.entry import main; main()", "serve", "--port=0"]
        env = {
            "VOIPAVATAR_DATABASE_URL": f"postgresql://a:b@127.0.0.1:{port}/c",
            "VOIPAVATAR_DATA_DIR": str(tmp_path),
        }
        with started(*command, env=env) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        connection.close()


def test_the_first_lines_of_the_command_import_nothing_heavy() -> None:
    check = "import sys, app.entry; print(*(sys.modules.keys() & {'typer', 'pydantic', 'numpy'}))"
    with started(sys.executable, "-c", check) as process:
        assert process.communicate()[0].strip() == ""
