"""Every live session of this process: its task, its runner, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from app.db.columns import now
from app.db.tables import SessionRow
from app.errors import Unhealthy
from app.protocols import Reporter, SessionRunner
from app.session_types import EndReason, Outcome, SessionSpec, State

log = structlog.get_logger(__name__)

REPORT_AGAIN_S = 1.0
RECORD_S = 2.0  # how long a session waits for its events to be recorded
CUT_OFF_S = 5.0  # for closing and recording after a session was cancelled


@dataclass(slots=True)
class _Live:
    runner: SessionRunner
    row: SessionRow  # as known here, even if not recorded yet
    task: asyncio.Task[None] = field(init=False)
    recording: asyncio.Task[None] | None = None  # of the `ready` event


class Registry:
    """Holds the tasks. Forgets a session once its end has been recorded."""

    def __init__(
        self, make_runner: Callable[[SessionSpec], SessionRunner], reporter: Reporter
    ) -> None:
        self._make_runner = make_runner
        self._reporter = reporter
        self._live: dict[str, _Live] = {}

    def spawn(self, spec: SessionSpec, row: SessionRow) -> None:
        """Start a session's task; returns at once."""
        live = _Live(self._make_runner(spec), row)
        live.task = asyncio.create_task(self._run(live), name=f"session {spec.id}")
        self._live[spec.id] = live

    def known(self, session_id: str) -> SessionRow | None:
        """The row of a session that runs here or whose end is not recorded yet."""
        live = self._live.get(session_id)
        return live.row if live else None

    def stop(self, session_id: str, reason: EndReason) -> bool:
        """Ask a session to end; False if it does not run here."""
        live = self._live.get(session_id)
        if live is None:
            return False
        if not State(live.row.state).terminal:
            live.row.state = State.ENDING
        live.runner.stop(reason)
        return True

    def interrupt(self, session_id: str) -> None:
        """Stop a session's speech, if the session runs here."""
        live = self._live.get(session_id)
        if live is None:
            return
        try:
            live.runner.interrupt()
        except Exception:
            # A session that is ending has closed its audio already, so it is silent.
            log.exception("session could not be interrupted", session_id=session_id)

    async def stats(self, session_id: str) -> dict[str, Any] | None:
        live = self._live.get(session_id)
        return await live.runner.stats() if live else None

    def report_observations(self) -> None:
        """Report what live sessions observed since the last call."""
        for live in self._live.values():
            self._reporter.observed(live.runner.observations())

    async def wait_released(self, session_id: str, timeout_s: float) -> None:
        """Wait until a session that ran here has released its place."""
        if session_id in self._live:
            await asyncio.wait({self._live[session_id].task}, timeout=timeout_s)

    def running(self) -> int:
        return len(self._live)

    async def drain(self, timeout_s: float) -> None:
        """End every session for shutdown; cancel those that take too long."""
        tasks = {live.task for live in self._live.values()}
        for live in self._live.values():
            live.runner.stop(EndReason.SHUTDOWN)
        for limit_s in (timeout_s, CUT_OFF_S):
            if not tasks:
                return
            _, tasks = await asyncio.wait(tasks, timeout=limit_s)
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, live: _Live) -> None:
        session_id, runner = live.row.id, live.runner
        outcome = Outcome(EndReason.SHUTDOWN)  # for a cancelled task
        try:
            outcome = await runner.run(lambda: self._became_ready(live))
        except Exception as error:
            log.exception("session task failed", session_id=session_id)
            outcome = Outcome.of_fault(error)
        finally:
            stats: dict[str, Any] = {}
            try:
                self._reporter.observed(runner.observations())
                stats = await runner.stats()
            except Exception:  # the end must be recorded all the same
                log.exception(
                    "the measurements of an ended session are lost", session_id=session_id
                )
            await self._finish(live, outcome, stats)

    async def _became_ready(self, live: _Live) -> None:
        """Record it, but do not let a slow database delay the session."""
        at = now()
        if live.row.state == State.STARTING:
            live.row.state, live.row.ready_at = State.READY, at
        live.recording = asyncio.create_task(self._record_ready(live.row.id, at))
        await asyncio.wait({live.recording}, timeout=RECORD_S)

    async def _record_ready(self, session_id: str, at: datetime) -> None:
        while True:
            try:
                return await self._reporter.ready(session_id, at)
            except Unhealthy:
                log.warning("session is ready, not recorded yet", session_id=session_id)
            except Exception:
                log.exception("session is ready, not recorded", session_id=session_id)
                return None
            await asyncio.sleep(REPORT_AGAIN_S)

    async def _finish(self, live: _Live, outcome: Outcome, stats: dict[str, Any]) -> None:
        """Report the end until the database has it; otherwise the key would stay taken."""
        session_id, at = live.row.id, now()
        _close(live.row, outcome, at)
        try:
            if live.recording is not None:  # keep the order in the row's events, too
                await asyncio.wait({live.recording})
            while True:
                try:
                    return await self._reporter.finished(session_id, outcome, stats, at)
                except Unhealthy:
                    log.warning("end of session not recorded yet", session_id=session_id)
                except Exception:
                    log.exception("end of session not recorded", session_id=session_id)
                    stats = {}  # nothing else that is written can be unwritable
                await asyncio.sleep(REPORT_AGAIN_S)
        finally:
            # If shutdown cancels this, the row stays as it is; the next start marks it lost.
            if live.recording is not None:
                live.recording.cancel()
            self._live.pop(session_id, None)


def _close(row: SessionRow, outcome: Outcome, at: datetime) -> None:
    row.state, row.ended_at, row.end_reason = outcome.state, at, outcome.reason
    if outcome.state is State.FAILED:
        row.error_code, row.error_detail = outcome.reason, outcome.detail
