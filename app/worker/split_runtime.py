"""What sessions run on in the split service."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.runtime import Runtime
from app.worker.engine_process import EngineProcess, WatchedEngine
from app.worker.session_hosts import WorkerPool
from app.worker.worker_session import WorkerSession


@asynccontextmanager
async def split_runtime(settings: Settings, catalogue: Catalogue) -> AsyncIterator[Runtime]:
    """The engine in its own process, and `settings.hosts` worker processes for sessions.

    Raises BackendUnavailable, with its remedy, before any session is admitted.
    """
    async with AsyncExitStack() as exits:
        # A private folder: only this user can connect.
        folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="voipavatar-"))
        path = Path(folder) / "engine.sock"
        process = EngineProcess(settings, path)
        exits.push_async_callback(process.aclose)
        await process.start()
        workers = WorkerPool(settings, path)
        engine = WatchedEngine(process, settings, path, workers)
        await engine.start()
        exits.push_async_callback(engine.aclose)
        exits.push_async_callback(workers.aclose)
        await workers.start()
        yield Runtime(
            engine, lambda spec: WorkerSession(spec, workers, catalogue), workers.worker_lag
        )
