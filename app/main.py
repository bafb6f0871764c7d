"""Builds the service: opens its parts in order and closes them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from app.api import agent_routes as compat
from app.api import persona_routes as personas
from app.api import probes
from app.api import session_routes as sessions
from app.api.deps import Services
from app.api.health import Health
from app.api.readiness import readiness_checks
from app.config import Settings
from app.db.database import Database
from app.db.migrate import migrate
from app.errors import Unhealthy
from app.http.middleware import RequestMiddleware
from app.http.problems import describe, install_problems
from app.personas.catalogue import Catalogue
from app.process.background import repeat
from app.process.private_files import keep_private
from app.runtime import Runtime, RuntimeFactory
from app.sessions.events import SessionEvents
from app.sessions.instances import BEAT_S, Instance
from app.sessions.registry import Registry
from app.sessions.service import Sessions
from app.shipped import version
from app.telemetry.loop_lag import LoopLagCollector, watch_loop_lag
from app.telemetry.prometheus import Metrics
from engine import PersonaError, ResourceShortage, StorageFault

log = structlog.get_logger(__name__)

SESSIONS_A_LOOP = 16
"""With this many bare publishers, p99 lateness is 1.5 ms in one process (livekit.md, head)."""

DESCRIPTION = "Self-hosted lip-synced avatars for LiveKit rooms."


@asynccontextmanager
async def real_runtime(settings: Settings, catalogue: Catalogue) -> AsyncIterator[Runtime]:
    """The engine pool, and sessions that join LiveKit. Raises BackendUnavailable."""
    from app.rtc.resources import open_resources, runner_on
    from app.worker.split_runtime import split_runtime

    try:
        # Takes seconds the first time; no session should have to wait for it.
        await catalogue.load(settings.persona_name)
    except (PersonaError, StorageFault, ResourceShortage) as error:
        log.warning("the default persona cannot be used", detail=str(error))
    if settings.hosts:
        async with split_runtime(settings, catalogue) as runtime:
            yield runtime
        return
    async with open_resources(settings, catalogue) as resources:
        if resources.pool.capacity > SESSIONS_A_LOOP:
            log.warning(
                "the engine can run more sessions than one process keeps on time",
                sessions=resources.pool.capacity,
                remedy=f"VOIPAVATAR_HOSTS={-(-resources.pool.capacity // SESSIONS_A_LOOP)}",
            )
        yield Runtime(resources.pool, runner_on(resources))


def create_app(settings: Settings, *, runtime_factory: RuntimeFactory = real_runtime) -> FastAPI:
    """The ASGI app. Nothing is opened before its lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as exits:
            services = await open_services(settings, runtime_factory, exits)
            app.state.drain = services.sessions.drain
            yield {"services": services}

    app = FastAPI(
        title="voipavatar",
        version=version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    install_problems(app)
    app.add_middleware(RequestMiddleware)
    # The middleware checks the keys; these lines only put them into the documentation.
    keyed = APIRouter(
        dependencies=[
            Security(HTTPBearer(auto_error=False)),
            Security(APIKeyHeader(name="x-api-key", auto_error=False)),
        ],
        responses=describe(),
    )
    keyed.include_router(sessions.router)
    keyed.include_router(personas.router)
    keyed.include_router(compat.router)
    app.include_router(keyed)
    app.include_router(probes.router)
    return app


async def open_services(
    settings: Settings, runtime_factory: RuntimeFactory, exits: AsyncExitStack
) -> Services:
    """Everything a request may need; `exits` closes it, sessions first."""
    await asyncio.to_thread(_keep_private, settings)
    database = Database(settings.database)
    exits.push_async_callback(database.aclose)
    await migrate(database)
    catalogue = Catalogue.of(settings)
    exits.push_async_callback(catalogue.aclose)
    runtime = await exits.enter_async_context(runtime_factory(settings, catalogue))
    metrics = Metrics()
    metrics.watch(runtime.engine)
    own_lag = exits.enter_context(watch_loop_lag())
    metrics.registry.register(
        LoopLagCollector(lambda: {"service": own_lag, **runtime.worker_lag()})
    )
    events = SessionEvents(database, metrics)
    instance = Instance(database, events)
    await instance.register()
    exits.push_async_callback(instance.deregister)
    registry = Registry(runtime.make_runner, events)
    await exits.enter_async_context(_housekeeping(instance, registry))
    sessions = Sessions(
        settings, database, catalogue, runtime.engine, registry, events, metrics, instance.id
    )
    exits.push_async_callback(sessions.drain)
    checks = readiness_checks(settings, database, catalogue, instance, runtime.engine)
    health = Health(runtime.engine, checks)
    return Services(settings, database, catalogue, sessions, health, metrics)


def _keep_private(settings: Settings) -> None:
    try:
        trouble = keep_private(settings.data_dir)
    except OSError:
        return  # the code that uses the folder reports it
    if trouble:
        log.warning("others can reach the data folder", detail=trouble)


@asynccontextmanager
async def _housekeeping(instance: Instance, registry: Registry) -> AsyncIterator[None]:
    """Send heartbeats, act on requests from other processes, reap what dead ones left."""

    async def keep() -> None:
        with suppress(Unhealthy):  # the database has logged it already
            for session_id, reason in (await instance.beat()).items():
                registry.stop(session_id, reason)
            await instance.reap()

    task = asyncio.create_task(repeat("housekeeping", BEAT_S, keep), name="housekeeping")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
