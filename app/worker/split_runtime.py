"""What sessions run on where the service is split up."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.runtime import Runtime
from app.worker.engine_process import EngineProcess, WatchedEngine
from app.worker.hosted import WorkerSession
from app.worker.session_hosts import WorkerPool


@asynccontextmanager
async def split_runtime(settings: Settings, catalogue: Catalogue) -> AsyncIterator[Runtime]:
    """The engine in a process of its own, and `settings.hosts` processes of sessions.

    Raises BackendUnavailable, with the command that mends it, before any session is admitted.
    """
    async with AsyncExitStack() as exits:
        # Only this user can enter it.
        folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="voipavatar-"))
        path = Path(folder) / "engine.sock"
        process = EngineProcess(settings, path)
        exits.push_async_callback(process.aclose)
        await process.start()
        hosts = WorkerPool(settings, path)
        engine = WatchedEngine(process, settings, path, hosts)
        await engine.start()
        exits.push_async_callback(engine.aclose)
        exits.push_async_callback(hosts.aclose)
        await hosts.start()
        yield Runtime(engine, lambda spec: WorkerSession(spec, hosts, catalogue), hosts.worker_lag)
