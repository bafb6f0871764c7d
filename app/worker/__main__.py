"""`python -m app.worker ROLE NAME FD`, which the service runs; not for people."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from app.config import Settings
from app.rtc.exit import ended_by
from app.telemetry.native_stderr import logged_stderr
from app.worker.channel import Channel
from app.worker.process import settings_of
from engine import BackendUnavailable

Work = Callable[..., Coroutine[Any, Any, None]]


async def main(role: str, name: str, file: int) -> None:
    channel = await Channel.on(socket.socket(fileno=file))
    first = await channel.receive()
    if first is None:
        return
    settings, job = settings_of(first["settings"]), first["job"]
    with logged_stderr(settings.log_format, settings.log_level, name):
        structlog.contextvars.bind_contextvars(process=name)
        await _ROLES[role](settings, channel, **job)


async def _host(settings: Settings, channel: Channel, **job: Any) -> None:
    from app.worker.host import host

    await host(settings, channel, **job)


async def _engine(settings: Settings, channel: Channel, path: str) -> None:
    """Serve until the channel closes, or until a fault that only a new process can cure."""
    from engine import EngineServer

    closed = asyncio.create_task(channel.receive())
    server = None
    try:
        server = EngineServer(settings.engine_config(), Path(path))
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        await asyncio.wait({starting, closed}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            os._exit(0)  # the service has ended, and nothing else stops the warm-up's thread
        starting.result()
    except (BackendUnavailable, OSError) as error:
        channel.send(did="refused", detail=str(error))
        await channel.aclose()
        return
    channel.send(did="started")
    stopped = asyncio.create_task(asyncio.to_thread(server.wait))
    await asyncio.wait({stopped, closed}, return_when=asyncio.FIRST_COMPLETED)
    if server.fault is not None:
        channel.send(did="failed", detail=server.fault)
    await channel.aclose()
    await asyncio.to_thread(server.stop)


_ROLES: dict[str, Work] = {"host": _host, "engine": _engine}

if __name__ == "__main__":
    ended_by(lambda: asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
