"""Every live session of this process: its task, its runner, and the one way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from app.errors import Unhealthy
from app.sessions.spec import EndReason, FailureCode, Outcome, SessionSpec
from engine.types import EngineStats

log = structlog.get_logger(__name__)

REPORT_AGAIN_S = 1.0
CUT_OFF_S = 5.0  # for closing and recording, once a session was cut off


class Runner(Protocol):
    """One session's whole life in a room."""

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """Join, speak, leave. Everything it opened is closed when it returns."""
        ...

    def stop(self, reason: EndReason) -> None:
        """Ask it to end. Idempotent: the first reason counts."""
        ...

    def interrupt(self) -> None:
        """Fall silent now: what came in so far is not played on."""
        ...

    async def stats(self) -> dict[str, Any]:
        """The body of `GET /sessions/{id}/stats`."""
        ...

    def observations(self) -> dict[str, Any]:
        """What was observed since the last call: `app.observed.Observed.drain`."""
        ...


class Engine(Protocol):
    """What the control plane asks of the engine pool."""

    @property
    def capacity(self) -> int:
        """Sessions it can bear at once."""
        ...

    @property
    def fault(self) -> str | None:
        """Why nothing is painted any more."""
        ...

    @property
    def no_worker(self) -> str | None:
        """Why no process can run a session now, though the engine is well."""
        ...

    def beat_age_s(self) -> float: ...

    def stats(self) -> EngineStats: ...


class Reporter(Protocol):
    """Who hears of what happens to sessions; each call is a transaction of its own."""

    async def ready(self, session_id: str) -> None: ...

    async def finished(self, session_id: str, outcome: Outcome, stats: dict[str, Any]) -> None: ...

    def observed(self, observations: dict[str, Any]) -> None: ...


class Registry:
    """Holds the tasks. A session that ended is forgotten here once it has been reported."""

    def __init__(self, make_runner: Callable[[SessionSpec], Runner], report: Reporter) -> None:
        self._make_runner = make_runner
        self._report = report
        self._live: dict[str, tuple[Runner, asyncio.Task[None]]] = {}

    def spawn(self, spec: SessionSpec) -> None:
        """Start a session's task; returns at once."""
        runner = self._make_runner(spec)
        task = asyncio.create_task(self._live_through(spec.id, runner), name=f"session {spec.id}")
        self._live[spec.id] = (runner, task)

    def stop(self, session_id: str, reason: EndReason) -> bool:
        """Ask a session to end; False when it isn't running here."""
        live = self._live.get(session_id)
        if live is None:
            return False
        live[0].stop(reason)
        return True

    def interrupt(self, session_id: str) -> None:
        """Let a session fall silent, if it is running here."""
        live = self._live.get(session_id)
        if live is None:
            return
        try:
            live[0].interrupt()
        except Exception:
            # One that is on its way out has closed what it would silence, and is silent.
            log.exception("session could not be interrupted", session_id=session_id)

    async def stats(self, session_id: str) -> dict[str, Any] | None:
        live = self._live.get(session_id)
        return await live[0].stats() if live else None

    def report_observations(self) -> None:
        """Report what live sessions have observed since the last time."""
        for runner, _ in self._live.values():
            self._report.observed(runner.observations())

    async def gone(self, session_id: str, timeout_s: float) -> None:
        """Wait until a session that is over has given its place back, if it ran here."""
        if session_id in self._live:
            await asyncio.wait({self._live[session_id][1]}, timeout=timeout_s)

    def running(self) -> int:
        return len(self._live)

    async def drain(self, timeout_s: float) -> None:
        """End every session for shutdown; those not gone in time are cancelled."""
        tasks = {task for _, task in self._live.values()}
        for runner, _ in self._live.values():
            runner.stop(EndReason.SHUTDOWN)
        for patience_s in (timeout_s, CUT_OFF_S):
            if not tasks:
                return
            _, tasks = await asyncio.wait(tasks, timeout=patience_s)
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live_through(self, session_id: str, runner: Runner) -> None:
        outcome = Outcome(EndReason.SHUTDOWN)  # what a cancelled task ends with
        try:
            outcome = await runner.run(lambda: self._report.ready(session_id))
        except Exception:
            log.exception("session task failed", session_id=session_id)
            outcome = Outcome(FailureCode.INTERNAL, "The session ended by a fault of the service.")
        finally:
            stats: dict[str, Any] = {}
            try:
                self._report.observed(runner.observations())
                stats = await runner.stats()
            except Exception:  # its end must be recorded all the same
                log.exception("what an ended session measured is lost", session_id=session_id)
            await self._finish(session_id, outcome, stats)

    async def _finish(self, session_id: str, outcome: Outcome, stats: dict[str, Any]) -> None:
        """Report the end until the database has it: else its key would stay taken."""
        try:
            while True:
                try:
                    return await self._report.finished(session_id, outcome, stats)
                except Unhealthy:
                    log.warning("end of session not recorded yet", session_id=session_id)
                except Exception:
                    log.exception("end of session not recorded", session_id=session_id)
                    stats = {}  # of all that is written, only they can be unwritable
                await asyncio.sleep(REPORT_AGAIN_S)
        finally:
            # Cut off at shutdown, the row stays as it is; the next start-up marks it lost.
            self._live.pop(session_id, None)
