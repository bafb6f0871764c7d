"""A host's commands: one that fails is told of, and harms no other session of the host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.rtc.sdk.tokens import avatar_token
from app.session_types import AudioSpec, EndReason, Outcome, SessionSpec, VideoSpec
from app.worker.engine_process import EngineProcess
from app.worker.session_hosts import WorkerPool
from app.worker.worker_session import WorkerSession
from bench.devstack import LiveKit, prepare_persona
from tests.e2e.served import SIZE
from tests.e2e.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e

PERSONAS = Path(__file__).parents[2] / "personas"
COMMANDS: list[dict[str, object]] = [
    {"do": "stop", "id": "ses_one", "reason": "no reason"},
    {"do": "stop", "id": "ses_one"},
    {"do": "start", "spec": {"id": "ses_none"}},
    {"do": "start"},
    {"do": "start", "spec": None},
    {"do": "nothing", "id": "ses_one"},
    {"do": None},
    {},
]


@pytest.fixture
async def started(
    livekit_server: LiveKit, tmp_path: Path
) -> AsyncIterator[tuple[Settings, WorkerPool]]:
    settings = Settings(
        _env_file=None,
        engine="warp",
        hosts=1,
        data_dir=tmp_path,
        personas_dir=PERSONAS,
        LIVEKIT_URL=livekit_server.url,
        LIVEKIT_API_KEY=livekit_server.key,
        LIVEKIT_API_SECRET=livekit_server.secret,
    )
    await prepare_persona(tmp_path, "default", (SIZE, SIZE))
    path = tmp_path / "engine.sock"
    engine, hosts = EngineProcess(settings, path), WorkerPool(settings, path)
    await engine.start()
    await hosts.start()
    yield settings, hosts
    await hosts.aclose()
    await engine.aclose()


async def test_commands_that_fail_leave_the_host_and_its_sessions_alone(
    started: tuple[Settings, WorkerPool],
) -> None:
    settings, hosts = started
    catalogue = Catalogue(PERSONAS, settings.data_dir / "personas")
    one, one_ends = await _begun(settings, hosts, catalogue, "one")
    other, other_ends = await _begun(settings, hosts, catalogue, "other")
    before, host = hosts.pids(), await hosts.place()
    for command in COMMANDS:
        host.child.channel.send(**command)
    # While it ends, everything that it speaks through is closed step by step.
    one.stop(EndReason.DELETED)
    while not one_ends.done():
        one.interrupt()
        await asyncio.sleep(0.001)
    assert await one_ends == Outcome(EndReason.DELETED)
    one.interrupt()
    assert await other.stats(), "the host answers"
    other.stop(EndReason.DELETED)
    assert await other_ends == Outcome(EndReason.DELETED)
    assert hosts.pids() == before
    await catalogue.aclose()


async def _begun(
    settings: Settings, hosts: WorkerPool, catalogue: Catalogue, room: str
) -> tuple[WorkerSession, asyncio.Task[Outcome]]:
    session = WorkerSession(_spec(settings, room), hosts, catalogue)
    ready = asyncio.Event()

    async def on_ready() -> None:
        ready.set()

    task = asyncio.create_task(session.run(on_ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    return session, task


def _spec(settings: Settings, room: str) -> SessionSpec:
    audio = AudioSpec()
    return SessionSpec(
        id=f"ses_{room}",
        room=room,
        persona="default",
        identity="avatar",
        livekit_url=settings.livekit_url,
        token=lambda: avatar_token(settings, f"ses_{room}", room, "avatar", audio),
        requested_at=time.monotonic(),
        audio=audio,
        video=VideoSpec(SIZE, SIZE),
    )
