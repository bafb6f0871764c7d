"""Runs the app under uvicorn, and drains sessions before it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config import Settings
from app.db.api_keys import has_active_key
from app.db.database import Database
from app.db.migrate import migrate
from app.http.caller import is_loopback
from app.http.connections import Connections, Patience
from app.http.descriptors import connections_within, descriptors
from app.http.protocol import WatchedProtocol
from app.process.signals import interruptible_start
from app.sessions.schemas import livekit_address
from engine import cores

log = structlog.get_logger(__name__)

CLOSE_S = 5  # for requests still being answered after the sessions have left


class CannotServe(Exception):
    """The service cannot or must not start; the message is one sentence with its remedy."""


async def serve(
    settings: Settings, listening: socket.socket, make_app: Callable[[Settings], FastAPI]
) -> None:
    """Serve until SIGTERM or SIGINT, then refuse new sessions, drain and return.

    A second signal kills the process. Raises EngineError if the engine cannot start, and
    EndedAtStart after a signal during startup.
    """
    asyncio.get_running_loop().set_default_executor(cores.waiting_threads("worker"))
    _require_livekit_address(settings)
    app = make_app(settings)
    async with AsyncExitStack() as exits:
        with interruptible_start():
            await _require_key(settings)
            # Opened here rather than by uvicorn, which would print a traceback for a missing file.
            state = await exits.enter_async_context(app.router.lifespan_context(app))
        log.info("listening", address="{}:{}".format(*listening.getsockname()[:2]))
        await DrainingServer(settings, app, state, app.state.drain).serve([listening])


def listen(settings: Settings) -> socket.socket:
    """A socket on the configured address. Raises CannotServe."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol given, asyncio sets TCP_NODELAY on each connection; otherwise Nagle's
    # algorithm and delayed acknowledgements delay small answers by 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise CannotServe(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
            "Choose another port with `voipavatar serve --port PORT`."
        ) from error
    return listening


def _require_livekit_address(settings: Settings) -> None:
    try:
        livekit_address(settings.livekit_url)
    except ValueError as error:
        raise CannotServe(f"LIVEKIT_URL {error}.") from error


async def _require_key(settings: Settings) -> None:
    """Raises CannotServe if remote callers need no key; warns if a proxy could let them in."""
    local = settings.host == "localhost" or is_loopback(settings.host)
    database = Database(settings.database)
    try:
        await migrate(database)
        if await has_active_key(database):
            return
    finally:
        await database.aclose()
    if settings.insecure:
        log.warning("anybody who reaches the service may use it: there is no API key")
        return
    if local:
        log.warning(
            "there is no API key: only this machine may call, and not through a proxy",
            remedy="voipavatar keys create NAME, before a proxy passes requests on to this service",
        )
        return
    raise CannotServe(
        f"{settings.host} is reachable from other machines and there is no API key: make one with "
        "`voipavatar keys create NAME`, or start with --insecure."
    )


def _with_state(app: ASGIApp, state: dict[str, Any]) -> ASGIApp:
    async def stated(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await app(scope, receive, send)

    return stated


class DrainingServer(uvicorn.Server):
    """Keeps answering while sessions leave, with `draining` where that applies."""

    def __init__(
        self,
        settings: Settings,
        app: ASGIApp,
        state: Mapping[str, Any] | None,
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        """`state` comes from the app's lifespan, already open, and goes into every request."""
        config = uvicorn.Config(
            _with_state(app, dict(state or {})),
            http=WatchedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a proxy's claims about its caller are not trusted
            lifespan="off",
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=CLOSE_S,
        )
        super().__init__(config)
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None
        self.connections = Connections(
            settings.max_connections or connections_within(descriptors()),
            Patience(settings.keep_alive_s),
            lambda: WatchedProtocol(config, self.server_state, {}),
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept through `Connections`: uvicorn itself would accept without a limit."""
        for listening in sockets or []:
            self.connections.serve(listening)
        self.servers = [self.connections]  # type: ignore[list-item]  # it only closes them
        self.started = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs in a signal handler, so it only schedules the drain."""
        if self._draining is not None:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            os._exit(128 + sig)  # a container's PID 1 survives raise_signal
        self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._draining is None:
            log.info("shutting down: sessions leave their rooms")
            self._draining = asyncio.create_task(self._drain_sessions())

    async def _drain_sessions(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit = True
