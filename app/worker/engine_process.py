"""The engine's process as seen by the service: supervised and restarted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog

from app.config import Settings
from app.worker.process import LEAVE_S, Child
from app.worker.session_hosts import WorkerPool
from engine import Backoff, EngineStats, reason_of, remote_pool

log = structlog.get_logger(__name__)

PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0  # between the end of an engine process and the next start
STARTING = "The engine's process is being started again."


class EngineProcess:
    """Starts the engine's process, and restarts it whenever it ends.

    Its sessions then fail with `engine_error`; new ones are admitted once the next process is warm.
    """

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._child: Child | None = None
        self._supervision: asyncio.Task[None] | None = None
        self.refusal: str | None = None  # why the last restart failed
        self.restarts = 0

    async def start(self) -> None:
        """Returns once the engine is warm. Raises BackendUnavailable, with its remedy."""
        self._child = await self._spawn()
        self._supervision = asyncio.create_task(self._supervise(self._child), name="engine")

    async def aclose(self) -> None:
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
        if self._child is not None:
            await self._child.aclose(LEAVE_S)

    async def _spawn(self) -> Child:
        return await Child.start("engine", "engine", self._settings, path=str(self._path))

    async def _supervise(self, child: Child) -> None:
        while True:
            try:
                async for message in child.channel.messages():
                    log.error("engine failed", detail=message["detail"])
            except Exception:
                log.exception("the engine's process sent an invalid message and is stopped")
            try:
                await child.aclose(LEAVE_S)
            except Exception:
                log.exception("the engine's process did not stop cleanly")
            log.error("engine process ended", pid=child.pid)
            self._child = child = await self._restart()
            self.restarts += 1

    async def _restart(self) -> Child:
        """A new engine process, after as many attempts as it takes."""
        backoff = Backoff(PAUSE_S, LONGEST_PAUSE_S)
        while True:
            await asyncio.sleep(backoff.next_s())
            try:
                child = await self._spawn()
            except Exception as error:
                self.refusal = reason_of(error)
                log.error("engine process did not start; trying again", detail=self.refusal)
            else:
                self.refusal = None
                return child


class WatchedEngine:
    """The engine as the control plane sees it: the engine's process and the workers."""

    def __init__(
        self,
        process: EngineProcess,
        settings: Settings,
        path: Path,
        workers: WorkerPool,
    ) -> None:
        self._process = process
        self._workers = workers
        # It only watches, and keeps no pictures in time: its threads need no priority.
        self._pool = remote_pool(replace(settings.engine_config(), realtime=False), path)

    async def start(self) -> None:
        await asyncio.to_thread(self._pool.start)

    async def aclose(self) -> None:
        await self._pool.aclose()

    @property
    def backend_name(self) -> str:
        return self._pool.backend_name

    @property
    def capacity(self) -> int:
        return self._pool.capacity

    @property
    def fault(self) -> str | None:
        fault = self._pool.fault
        if fault is None or self._pool.restarting:
            return fault
        return self._process.refusal or STARTING

    @property
    def no_worker(self) -> str | None:
        return self._workers.fault

    def beat_age_s(self) -> float:
        return max(self._pool.beat_age_s(), self._workers.beat_age_s())

    def stats(self) -> EngineStats:
        stats = self._pool.stats()
        stats.restarts += self._process.restarts
        return stats
