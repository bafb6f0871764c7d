"""A real LiveKit server on loopback, a warm engine, and sessions that play on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.rtc.output.av_out import OutputConfig
from app.rtc.sdk.tokens import avatar_token
from app.rtc.session import RoomSession, SessionResources
from app.session_types import AudioSpec, EndReason, Limits, Outcome, SessionSpec
from bench.clients.participant import LiveKitAccess
from bench.devstack import LiveKit
from engine.core.persona import Persona
from engine.engine_config import EngineConfig
from engine.serving.pool import EnginePool
from tests.e2e.scripted import Agent
from tests.e2e.waiting import PATIENCE_S

PERSONAS = Path(__file__).parents[2] / "personas"
SIZE = 256
PATIENT = Limits(join_timeout_s=PATIENCE_S, participant_left_timeout_s=600.0)


class Live:
    """A session that runs in this process, until the test is over."""

    def __init__(self, session: RoomSession, task: asyncio.Task[Outcome]) -> None:
        self.session = session
        self.task = task

    async def outcome(self, timeout_s: float = PATIENCE_S) -> Outcome:
        return await asyncio.wait_for(asyncio.shield(self.task), timeout_s)


@pytest.fixture(scope="session")
def livekit(livekit_server: LiveKit) -> LiveKitAccess:
    return LiveKitAccess(livekit_server.url, livekit_server.key, livekit_server.secret)


@pytest.fixture(scope="session")
def persona(tmp_path_factory: pytest.TempPathFactory) -> Persona:
    catalogue = Catalogue(PERSONAS, tmp_path_factory.mktemp("personas"))

    async def load() -> Persona:
        try:
            return await catalogue.load("default", SIZE, SIZE)
        finally:
            await catalogue.aclose()

    return asyncio.run(load())


@pytest.fixture(scope="session")
def pool() -> Iterator[EnginePool]:
    pool = EnginePool(EngineConfig(backend="warp", max_streams=8))
    pool.start()
    yield pool
    asyncio.run(pool.aclose())


@pytest.fixture
def stage(pool: EnginePool, persona: Persona) -> SessionResources:
    async def load(_: SessionSpec) -> Persona:
        return persona

    return SessionResources(pool, load, asyncio.Semaphore(4), OutputConfig(), "h264")


@pytest.fixture
async def perform(
    livekit: LiveKitAccess, stage: SessionResources
) -> AsyncIterator[Callable[..., Awaitable[Live]]]:
    """Start a session in a room and wait until it is ready."""
    started: list[Live] = []

    async def start(
        room: str,
        *,
        audio: AudioSpec | None = None,
        limits: Limits | None = None,
        identity: str = "avatar",
        access: LiveKitAccess = livekit,
        e2ee_key: str | None = None,
        token: str | None = None,
    ) -> Live:
        """`token`: the session has this one and no other."""
        heard, bounds = audio or AudioSpec(), limits or PATIENT
        settings = Settings(
            _env_file=None,
            LIVEKIT_URL=access.url,
            LIVEKIT_API_KEY=access.key,
            LIVEKIT_API_SECRET=access.secret,
        )
        spec = SessionSpec(
            id=f"ses_{room}",
            room=room,
            persona="default",
            identity=identity,
            livekit_url=access.url,
            token=lambda: (
                token or avatar_token(settings, f"ses_{room}", room, identity, heard, bounds)
            ),
            requested_at=time.monotonic(),
            audio=heard,
            e2ee_key=e2ee_key,
            external=token is not None,
            limits=bounds,
        )
        ready = asyncio.Event()

        async def on_ready() -> None:
            ready.set()

        session = RoomSession(spec, stage)
        live = Live(session, asyncio.create_task(session.run(on_ready)))
        started.append(live)
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait({waiter, live.task}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        return live

    yield start
    for live in started:
        live.session.stop(EndReason.SHUTDOWN)
    await asyncio.gather(*(live.task for live in started))


@pytest.fixture
async def agent(livekit: LiveKitAccess) -> AsyncIterator[Agent]:
    agent = Agent(livekit)
    yield agent
    await agent.leave()
