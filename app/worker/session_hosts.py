"""The pool of worker processes: places sessions and replaces workers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from app.config import Settings
from app.process.background import BackgroundTasks, repeat
from app.session_types import FailureCode, Outcome
from app.telemetry.loop_lag import LoopLag
from app.worker.messages import spec_body
from app.worker.process import LEAVE_S, Child
from app.worker.worker_session import WorkerSession
from engine import Backoff, reason_of

log = structlog.get_logger(__name__)

SESSIONS_A_LIFE = 500
"""A worker that has begun this many sessions takes no more and is replaced: LiveKit's library keeps
a little memory of every room (docs/lab/memory.md, "What a long-lived process keeps")."""

STUCK_S = 15.0  # a worker whose loop has not run for this long is killed
WATCH_S = 1.0
PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0  # between attempts to start a worker
LOST = "The process that ran the session ended."
REPLACED = "The process that runs sessions ended; another is being started."


class Worker:
    """One worker process and its sessions."""

    def __init__(self, name: str, child: Child) -> None:
        self.name = name
        self.child = child
        self.lag = LoopLag()
        self.sessions: dict[str, WorkerSession] = {}
        self.begun = 0
        self.last_seen = time.monotonic()

    def begin(self, session: WorkerSession, *, waited_s: float) -> None:
        """`waited_s`: how long the session has waited for this worker."""
        self.begun += 1
        self.sessions[session.spec.id] = session
        spec = replace(session.spec, waited_s=waited_s)
        self.child.channel.send(do="start", spec=spec_body(spec))

    def send(self, do: str, session_id: str, **more: Any) -> None:
        self.child.channel.send(do=do, id=session_id, **more)

    async def listen(self) -> None:
        """Handle events until the process ends; its sessions end with it."""
        try:
            async for message in self.child.channel.messages():
                self.last_seen = time.monotonic()
                self._handle(message)
        except Exception:
            log.exception("a session host sent an invalid message and is killed", host=self.name)
            self.child.kill()
        for session in self.sessions.values():
            session.end(Outcome(FailureCode.LOST, LOST))
        self.sessions.clear()

    def _handle(self, message: dict[str, Any]) -> None:
        if "pulse" in message:
            self.lag = LoopLag.of(message["pulse"])
        session = self.sessions.get(message.get("id", ""))
        if session is not None:
            session.handle(message)
            if message["did"] == "ended":
                del self.sessions[session.spec.id]


class WorkerPool:
    """Keeps `settings.hosts` workers running; replaces each when it ends or has served its time."""

    def __init__(self, settings: Settings, engine: Path, *, life: int = SESSIONS_A_LIFE) -> None:
        self._settings = settings
        self._engine = engine
        self._life = life
        self._serving: list[Worker] = []
        self._retired: set[Worker] = set()  # take no new sessions; some still run old ones
        self._changed = asyncio.Event()
        self._tasks = BackgroundTasks()
        self._count = 0
        self._trouble: str | None = None  # why the last worker ended or did not start

    async def start(self) -> None:
        """Raises BackendUnavailable if one of the workers does not start."""
        spawning = [asyncio.create_task(self._spawn()) for _ in range(self._settings.hosts)]
        try:
            await asyncio.gather(*spawning)
        finally:
            for task in spawning:
                task.cancel()
            await asyncio.gather(*spawning, return_exceptions=True)
        self._tasks.start(repeat("the watch over session hosts", WATCH_S, self._reap))

    @property
    def fault(self) -> str | None:
        """Why no session can run now; None if one can."""
        return None if self._serving else self._trouble

    async def place(self) -> Worker:
        """The worker with the fewest sessions; waits until there is one."""
        while not self._serving:
            self._changed.clear()
            await self._changed.wait()
        worker = min(self._serving, key=lambda each: len(each.sessions))
        if worker.begun >= self._life:
            self._retire(worker)
            return await self.place()
        return worker

    def beat_age_s(self) -> float:
        """Seconds since the most silent worker last sent anything."""
        now = time.monotonic()
        return max((now - worker.last_seen for worker in self._serving), default=0.0)

    def worker_lag(self) -> dict[str, LoopLag]:
        return {worker.name: worker.lag for worker in (*self._serving, *self._retired)}

    def pids(self) -> list[int]:
        return [worker.child.pid for worker in (*self._serving, *self._retired)]

    async def aclose(self) -> None:
        """End every session, then every worker."""
        await self._tasks.aclose()
        workers = (*self._serving, *self._retired)
        timeout_s = self._settings.drain_s + LEAVE_S
        await asyncio.gather(*(worker.child.aclose(timeout_s) for worker in workers))

    async def _spawn(self) -> None:
        self._count += 1
        name = f"host-{self._count}"
        child = await Child.start("host", name, self._settings, engine=str(self._engine))
        worker = Worker(name, child)
        self._serving.append(worker)
        self._trouble = None
        self._changed.set()
        self._tasks.start(self._supervise(worker))

    async def _supervise(self, worker: Worker) -> None:
        """Listen to a worker until it ends; replace it unless it was retired."""
        await worker.listen()
        if worker in self._serving:
            self._serving.remove(worker)
            self._retired.add(worker)
            self._trouble = REPLACED
            log.error("session host ended", host=worker.name)
            self._tasks.start(self._replace())
        try:
            await worker.child.aclose(LEAVE_S)
        finally:
            self._retired.discard(worker)

    def _retire(self, worker: Worker) -> None:
        """Let a worker finish its sessions while another takes the new ones."""
        self._serving.remove(worker)
        self._retired.add(worker)
        log.info("session host retires", begun=worker.begun, sessions=len(worker.sessions))
        self._tasks.start(self._replace())

    async def _replace(self) -> None:
        """Start another worker, with as many attempts as it takes."""
        backoff = Backoff(PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                return await self._spawn()
            except Exception as error:
                self._trouble = reason_of(error)
                log.error("session host did not start; trying again", detail=self._trouble)
            await asyncio.sleep(backoff.next_s())

    async def _reap(self) -> None:
        for worker in [*self._serving, *self._retired]:
            if time.monotonic() - worker.last_seen > STUCK_S:
                log.error("session host is stuck and is killed", pid=worker.child.pid)
                worker.child.kill()
        for worker in [worker for worker in self._retired if not worker.sessions]:
            await worker.child.aclose(LEAVE_S)
