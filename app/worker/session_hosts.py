"""The session hosts of a service: who gets the next session, who is replaced."""

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
from app.worker.hosted import WorkerSession
from app.worker.messages import spec_body
from app.worker.process import LEAVE_S, Child
from engine.core.backoff import Backoff
from engine.core.engine_errors import reason_of

log = structlog.get_logger(__name__)

SESSIONS_A_LIFE = 500
"""A host that began so many takes no more, and is replaced: LiveKit's library keeps a little of
every room (docs/benchmarks.md, Nothing left behind)."""

STUCK_S = 15.0  # a host whose loop has not turned for so long is killed
WATCH_S = 1.0
PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0  # before a host that did not start is started again
LOST = "The process that ran the session ended."
REPLACED = "The process that runs sessions ended; another is being started."


class Worker:
    """One process of sessions."""

    def __init__(self, name: str, child: Child) -> None:
        self.name = name
        self.child = child
        self.pulse = LoopLag()
        self.sessions: dict[str, WorkerSession] = {}
        self.begun = 0
        self.heard_at = time.monotonic()

    def begin(self, session: WorkerSession, *, waited_s: float) -> None:
        """`waited_s`: how long the session has waited for this host."""
        self.begun += 1
        self.sessions[session.spec.id] = session
        spec = replace(session.spec, waited_s=waited_s)
        self.child.channel.send(do="start", spec=spec_body(spec))

    def tell(self, do: str, session_id: str, **more: Any) -> None:
        self.child.channel.send(do=do, id=session_id, **more)

    async def listen(self) -> None:
        """Until it ends; its sessions have then ended, too."""
        try:
            async for message in self.child.channel.messages():
                self.heard_at = time.monotonic()
                self._hear(message)
        except Exception:
            log.exception("a session host sent nonsense and is ended", host=self.name)
            self.child.kill()
        for session in self.sessions.values():
            session.end(Outcome(FailureCode.LOST, LOST))
        self.sessions.clear()

    def _hear(self, message: dict[str, Any]) -> None:
        if "pulse" in message:
            self.pulse = LoopLag.of(message["pulse"])
        session = self.sessions.get(message.get("id", ""))
        if session is not None:
            session.told(message)
            if message["did"] == "ended":
                del self.sessions[session.spec.id]


class WorkerPool:
    """As many as were asked for, each replaced when it ends or has served long enough."""

    def __init__(self, settings: Settings, engine: Path, *, life: int = SESSIONS_A_LIFE) -> None:
        self._settings = settings
        self._engine = engine
        self._life = life
        self._serving: list[Worker] = []
        self._retired: set[Worker] = set()  # they take no more; some have sessions still
        self._changed = asyncio.Event()
        self._tasks = BackgroundTasks()
        self._count = 0
        self._trouble: str | None = None  # why the last one ended or did not start

    async def start(self) -> None:
        """Raises BackendUnavailable if one of them does not start."""
        hiring = [asyncio.create_task(self._spawn()) for _ in range(self._settings.hosts)]
        try:
            await asyncio.gather(*hiring)
        finally:
            for task in hiring:
                task.cancel()
            await asyncio.gather(*hiring, return_exceptions=True)
        self._tasks.start(repeat("the watch over session hosts", WATCH_S, self._look_after))

    @property
    def fault(self) -> str | None:
        """Why no session can be run now; None while one can."""
        return None if self._serving else self._trouble

    async def place(self) -> Worker:
        """The host with the fewest sessions; waits while there is none."""
        while not self._serving:
            self._changed.clear()
            await self._changed.wait()
        host = min(self._serving, key=lambda each: len(each.sessions))
        if host.begun >= self._life:
            self._retire(host)
            return await self.place()
        return host

    def beat_age_s(self) -> float:
        """Seconds since the most silent host showed that its loop turns."""
        now = time.monotonic()
        return max((now - host.heard_at for host in self._serving), default=0.0)

    def worker_lag(self) -> dict[str, LoopLag]:
        return {host.name: host.pulse for host in (*self._serving, *self._retired)}

    def pids(self) -> list[int]:
        return [host.child.pid for host in (*self._serving, *self._retired)]

    async def aclose(self) -> None:
        """Every session leaves its room, every host ends."""
        await self._tasks.aclose()
        hosts = (*self._serving, *self._retired)
        patience_s = self._settings.drain_s + LEAVE_S
        await asyncio.gather(*(host.child.aclose(patience_s) for host in hosts))

    async def _spawn(self) -> None:
        self._count += 1
        name = f"host-{self._count}"
        child = await Child.start("host", name, self._settings, engine=str(self._engine))
        host = Worker(name, child)
        self._serving.append(host)
        self._trouble = None
        self._changed.set()
        self._tasks.start(self._attend(host))

    async def _attend(self, host: Worker) -> None:
        """Listen to a host until it ends; have another in its place unless it was retired."""
        await host.listen()
        if host in self._serving:
            self._serving.remove(host)
            self._retired.add(host)
            self._trouble = REPLACED
            log.error("session host ended", host=host.name)
            self._tasks.start(self._replace())
        try:
            await host.child.aclose(LEAVE_S)
        finally:
            self._retired.discard(host)

    def _retire(self, host: Worker) -> None:
        """Let it finish what it has; another takes what comes."""
        self._serving.remove(host)
        self._retired.add(host)
        log.info("session host retires", begun=host.begun, sessions=len(host.sessions))
        self._tasks.start(self._replace())

    async def _replace(self) -> None:
        """Start another host, however many attempts that takes."""
        backoff = Backoff(PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                return await self._spawn()
            except Exception as error:
                self._trouble = reason_of(error)
                log.error("session host did not start; trying again", detail=self._trouble)
            await asyncio.sleep(backoff.next_s())

    async def _look_after(self) -> None:
        for host in [*self._serving, *self._retired]:
            if time.monotonic() - host.heard_at > STUCK_S:
                log.error("session host is stuck and gets killed", pid=host.child.pid)
                host.child.kill()
        for host in [host for host in self._retired if not host.sessions]:
            await host.child.aclose(LEAVE_S)
