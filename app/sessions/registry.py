"""Every live session of this process: its task, its runner, and the one way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from app.sessions.spec import EndReason, FailureCode, Outcome, SessionSpec

log = structlog.get_logger(__name__)


class Runner(Protocol):
    """One session's whole life in a room."""

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """Join, speak, leave. Everything it opened is closed when it returns."""
        ...

    def stop(self, reason: EndReason) -> None:
        """Ask it to end. Idempotent: the first reason counts."""
        ...

    def stats(self) -> dict[str, Any]:
        """The body of `GET /sessions/{id}/stats`."""
        ...


class Reporter(Protocol):
    """Who hears of what happens to sessions; each call is a transaction of its own."""

    async def ready(self, session_id: str) -> None: ...

    async def finished(self, session_id: str, outcome: Outcome, stats: dict[str, Any]) -> None: ...


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

    def stats(self, session_id: str) -> dict[str, Any] | None:
        live = self._live.get(session_id)
        return live[0].stats() if live else None

    def running(self) -> int:
        return len(self._live)

    async def drain(self, timeout_s: float) -> None:
        """End every session for shutdown; those not gone in time are cancelled."""
        tasks = [task for _, task in self._live.values()]
        for runner, _ in self._live.values():
            runner.stop(EndReason.SHUTDOWN)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _live_through(self, session_id: str, runner: Runner) -> None:
        outcome = Outcome(EndReason.SHUTDOWN)  # what a cancelled task ends with
        try:
            outcome = await runner.run(lambda: self._report.ready(session_id))
        except Exception:
            log.exception("session task failed", session_id=session_id)
            outcome = Outcome(FailureCode.INTERNAL, "The session ended by a fault of the service.")
        finally:
            await self._finish(session_id, outcome, runner.stats())

    async def _finish(self, session_id: str, outcome: Outcome, stats: dict[str, Any]) -> None:
        try:
            await self._report.finished(session_id, outcome, stats)
        except Exception:
            # The row stays as it is; the next start-up finds it and marks it lost.
            log.exception("end of session not recorded", session_id=session_id)
        finally:
            self._live.pop(session_id, None)
