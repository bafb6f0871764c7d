"""Background tasks and what they outlive; processes of sessions without a room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.process.background import BackgroundTasks, repeat
from app.session_types import EndReason, FailureCode, Limits, SessionSpec
from app.worker.channel import Channel
from app.worker.process import Child
from app.worker.session_hosts import Worker, WorkerPool
from app.worker.worker_session import WorkerSession
from engine.core.engine_errors import BackendUnavailable
from tests.e2e.waiting import until
from tests.fixtures.api import Api, QuietRunner
from tests.limits import no_more_files

PERSONAS = Path(__file__).parents[2] / "personas"


def _spec(persona: str = "ada") -> SessionSpec:
    return SessionSpec(
        id="ses_1",
        room="r",
        persona=persona,
        identity="avatar",
        livekit_url="ws://127.0.0.1",
        token=str,
        requested_at=0.0,
        limits=Limits(join_timeout_s=60.0),
    )


class ReadyPersonas(Catalogue):
    """Nothing has to be prepared."""

    async def load(self, *_: object, **__: object) -> None:  # type: ignore[override]
        return None


async def test_a_repeated_step_goes_on_after_any_error(caplog: pytest.LogCaptureFixture) -> None:
    attempts = 0
    enough = asyncio.Event()

    async def step() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 4:
            enough.set()
        raise [OSError(11, "no process"), MemoryError(), KeyError("did"), ValueError()][
            attempts % 4
        ]

    task = asyncio.create_task(repeat("a watch", 0.001, step))
    async with asyncio.timeout(30):
        await enough.wait()
    assert not task.done()
    task.cancel()


async def test_background_tasks_end_with_their_owner() -> None:
    tasks = BackgroundTasks()
    cut_off = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    async def fail() -> None:
        raise RuntimeError("alone")

    tasks.start(wait())
    tasks.start(fail())
    await asyncio.sleep(0)
    await tasks.aclose()
    assert cut_off.is_set()


async def test_stop_wakes_a_session_that_waits_for_a_place(tmp_path: Path) -> None:
    hosts = WorkerPool(Settings(_env_file=None), tmp_path / "engine.sock")  # none was started
    session = WorkerSession(_spec(), hosts, ReadyPersonas(PERSONAS, tmp_path))

    async def on_ready() -> None:
        raise AssertionError("there is nobody to be ready")

    running = asyncio.create_task(session.run(on_ready))
    await until(lambda: bool(hosts._changed._waiters))
    session.stop(EndReason.DELETED)
    session.stop(EndReason.SHUTDOWN)
    async with asyncio.timeout(20):
        assert (await running).reason is EndReason.DELETED


async def test_a_process_that_the_system_does_not_give_is_one_sentence(tmp_path: Path) -> None:
    await (await asyncio.create_subprocess_exec("true")).wait()
    with no_more_files(os.getpid()), pytest.raises(BackendUnavailable) as refused:
        await Child.start("host", "host-1", Settings(_env_file=None), engine="nowhere")
    assert "a process for host-1: Too many open files. Raise its limits" in str(refused.value)


async def test_a_host_that_sends_nonsense_is_ended_and_its_sessions_are_lost(
    tmp_path: Path,
) -> None:
    ours, its = socket.socketpair()
    process = await asyncio.create_subprocess_exec("sleep", "60")
    host = Worker("host-1", Child(process, await Channel.on(ours)))
    hosts = WorkerPool(Settings(_env_file=None), tmp_path / "engine.sock")
    session = WorkerSession(_spec(), hosts, ReadyPersonas(PERSONAS, tmp_path))
    host.begin(session, waited_s=0.0)
    with contextlib.closing(its):
        its.sendall(b'{"did": "ended", "id": "ses_1", "outcome": {"reason": "nonsense"}}\n')
        async with asyncio.timeout(20):
            await host.listen()
            assert (await session.ended).reason is FailureCode.LOST
            await process.wait()
    assert not host.sessions
    await host.child.aclose(1.0)


async def test_a_runner_that_cannot_tell_its_stats_ends_all_the_same(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> NoReturn:
        raise RuntimeError("no stats")

    monkeypatch.setattr(QuietRunner, "observations", broken)
    session = await api.create()
    await api.http.delete(f"/sessions/{session['id']}")
    assert (await api.ended(session["id"]))["end_reason"] == "deleted"
