"""Child processes: started, watched, and gone afterwards whatever happens."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from bench.devstack import (
    Child,
    LiveKit,
    LocalError,
    free_port,
    local_livekit,
    local_service,
    run_until_stopped,
)


async def test_livekit_runs_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with local_livekit(tmp_path) as livekit:
        pid = livekit.child.pid
        async with httpx.AsyncClient() as http:
            answer = await http.get(livekit.url.replace("ws", "http"))
        assert answer.status_code == 200
    assert not psutil.pid_exists(pid)


async def test_livekit_is_gone_after_a_fault(tmp_path: Path) -> None:
    children: list[Child] = []
    with pytest.raises(RuntimeError, match="of the demo"):
        async with local_livekit(tmp_path) as livekit:
            children.append(livekit.child)
            raise RuntimeError("of the demo")
    assert children[0].process.returncode is not None


async def test_a_child_to_be_kept_stays(tmp_path: Path) -> None:
    async with local_livekit(tmp_path) as livekit:
        livekit.child.keep = True
    assert livekit.child.process.poll() is None
    livekit.child.stop()
    assert livekit.child.process.poll() is not None


async def test_a_service_that_cannot_start_says_why(
    tmp_path: Path, livekit_server: LiveKit
) -> None:
    wrong = {"VOIPAVATAR_ENGINE": "steam"}
    with pytest.raises(LocalError, match=r"(?s)ended at its start.*VOIPAVATAR_ENGINE"):
        async with local_service(tmp_path, livekit_server, env=wrong):
            pytest.fail("a service with an unknown engine must not start")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_through_its_finally(number: signal.Signals) -> None:
    cleaned: list[bool] = []

    async def work() -> int:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(30)
        finally:
            cleaned.append(True)
        return 0

    assert run_until_stopped(work()) == 130
    assert cleaned == [True]


def test_a_busy_port_is_not_given_out() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        taken = busy.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken) == taken
