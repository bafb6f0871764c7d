"""The session hosts of a service: who gets the next session, who is replaced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from app.config import Settings
from app.hosts.child import LEAVE_S, Child
from app.hosts.wire import outcome_of, pulse_of, spec_body
from app.observed import Observed
from app.personas.service import Catalogue
from app.runtime import Pulse
from app.sessions.spec import EndReason, FailureCode, Outcome, SessionSpec
from engine.errors import BackendUnavailable, PersonaError

log = structlog.get_logger(__name__)

SESSIONS_A_LIFE = 500
"""A host that began so many takes no more, and is replaced: LiveKit's library keeps a little of
every room (docs/benchmarks.md, Nothing left behind)."""

STUCK_S = 15.0  # a host whose loop has not turned for so long is killed
WATCH_S = 1.0
PAUSE_S = 1.0  # before a host that did not start is started again
STATS_S = 1.0
LOST = "The process that ran the session ended."
NO_PLACE = "No process took the session in time."


class HostedSession:
    """A `Runner` whose room is in a host."""

    def __init__(self, spec: SessionSpec, hosts: Hosts, catalogue: Catalogue) -> None:
        loop = asyncio.get_running_loop()
        self._hosts = hosts
        self._catalogue = catalogue
        self._host: Host | None = None
        self._asked: asyncio.Future[dict[str, Any]] | None = None
        self._stats: dict[str, Any] = {}
        self._observed = Observed()
        self._stopped: EndReason | None = None
        self.spec = spec
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Outcome] = loop.create_future()

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """The whole life; when cancelled, the host cuts it off."""
        try:
            began = time.monotonic()
            async with asyncio.timeout(self.spec.limits.join_timeout_s):
                video = self.spec.video
                await self._catalogue.load(self.spec.persona, video.width, video.height)
                host = self._host = await self._hosts.place()
        except PersonaError as error:
            return Outcome(FailureCode.PERSONA_INVALID, str(error))
        except TimeoutError:
            return Outcome(FailureCode.JOIN_TIMEOUT, NO_PLACE)
        if self._stopped is not None:
            return Outcome(self._stopped)
        host.begin(self, waited_s=time.monotonic() - began)
        try:
            either: set[asyncio.Future[Any]] = {self.ready, self.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.ready.done():
                await on_ready()
            return await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            host.tell("cut", self.spec.id)
            raise

    def stop(self, reason: EndReason) -> None:
        self._stopped = self._stopped or reason
        if self._host is not None:
            self._host.tell("stop", self.spec.id, reason=reason.value)

    def interrupt(self) -> None:
        if self._host is not None:
            self._host.tell("interrupt", self.spec.id)

    async def stats(self) -> dict[str, Any]:
        """Of this moment; the last that are known once it has ended, or when nobody answers."""
        if self._host is not None and not self.ended.done():
            if self._asked is None or self._asked.done():
                self._asked = asyncio.get_running_loop().create_future()
                self._host.tell("stats", self.spec.id)
            with suppress(TimeoutError):
                async with asyncio.timeout(STATS_S):
                    await asyncio.shield(self._asked)
        return self._stats

    def observations(self) -> dict[str, Any]:
        return self._observed.drain()

    def told(self, message: dict[str, Any]) -> None:
        """The host says what happened to it."""
        self._observed.merge(message.get("observations", {}))
        if "stats" in message:
            self._stats = message["stats"]
            if self._asked is not None and not self._asked.done():
                self._asked.set_result(self._stats)
        if message["did"] == "ready" and not self.ready.done():
            self.ready.set_result(None)
        if message["did"] == "ended":
            self.end(outcome_of(message["outcome"]))

    def end(self, outcome: Outcome) -> None:
        if not self.ended.done():
            self.ended.set_result(outcome)


class Host:
    """One process of sessions."""

    def __init__(self, name: str, child: Child) -> None:
        self.name = name
        self.child = child
        self.pulse = Pulse()
        self.sessions: dict[str, HostedSession] = {}
        self.begun = 0
        self.heard_at = time.monotonic()

    def begin(self, session: HostedSession, *, waited_s: float) -> None:
        """`waited_s`: how long the session has waited for this host."""
        self.begun += 1
        self.sessions[session.spec.id] = session
        spec = replace(session.spec, waited_s=waited_s)
        self.child.channel.send(do="start", spec=spec_body(spec))

    def tell(self, do: str, session_id: str, **more: Any) -> None:
        self.child.channel.send(do=do, id=session_id, **more)

    async def listen(self) -> None:
        """Until it ends; its sessions have then ended, too."""
        async for message in self.child.channel.messages():
            self.heard_at = time.monotonic()
            if "pulse" in message:
                self.pulse = pulse_of(message["pulse"])
            session = self.sessions.get(message.get("id", ""))
            if session is not None:
                session.told(message)
                if message["did"] == "ended":
                    del self.sessions[session.spec.id]
        for session in self.sessions.values():
            session.end(Outcome(FailureCode.LOST, LOST))
        self.sessions.clear()


class Hosts:
    """As many as were asked for, each replaced when it ends or has served long enough."""

    def __init__(self, settings: Settings, engine: Path, *, life: int = SESSIONS_A_LIFE) -> None:
        self._settings = settings
        self._engine = engine
        self._life = life
        self._serving: list[Host] = []
        self._retired: set[Host] = set()  # they take no more; some have sessions still
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    async def start(self) -> None:
        """Raises BackendUnavailable."""
        async with asyncio.TaskGroup() as starting:
            for _ in range(self._settings.hosts):
                starting.create_task(self._hire())
        self._background(self._watch())

    async def place(self) -> Host:
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

    def pulses(self) -> dict[str, Pulse]:
        return {host.name: host.pulse for host in (*self._serving, *self._retired)}

    def pids(self) -> list[int]:
        return [host.child.pid for host in (*self._serving, *self._retired)]

    async def aclose(self) -> None:
        """Every session leaves its room, every host ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        hosts = (*self._serving, *self._retired)
        patience_s = self._settings.drain_s + LEAVE_S
        await asyncio.gather(*(host.child.aclose(patience_s) for host in hosts))

    async def _hire(self) -> None:
        self._count += 1
        name = f"host-{self._count}"
        child = await Child.start("host", name, self._settings, engine=str(self._engine))
        host = Host(name, child)
        self._serving.append(host)
        self._changed.set()
        self._background(self._attend(host))

    async def _attend(self, host: Host) -> None:
        """Listen to a host until it ends; have another in its place unless it was retired."""
        await host.listen()
        if host in self._serving:
            self._serving.remove(host)
            self._retired.add(host)
            log.error("session host ended", host=host.name)
            self._background(self._replace())
        await host.child.aclose(LEAVE_S)
        self._retired.discard(host)

    def _retire(self, host: Host) -> None:
        """Let it finish what it has; another takes what comes."""
        self._serving.remove(host)
        self._retired.add(host)
        log.info("session host retires", begun=host.begun, sessions=len(host.sessions))
        self._background(self._replace())

    async def _replace(self) -> None:
        while True:
            try:
                return await self._hire()
            except BackendUnavailable as error:
                log.error("session host did not start", detail=str(error))
                await asyncio.sleep(PAUSE_S)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for host in [*self._serving, *self._retired]:
                if time.monotonic() - host.heard_at > STUCK_S:
                    log.error("session host is stuck and gets killed", pid=host.child.pid)
                    host.child.kill()
            for host in [host for host in self._retired if not host.sessions]:
                await host.child.aclose(LEAVE_S)

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
