"""Every live session of this process: its task, its runner, and the one way it ends."""

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
RECORD_S = 2.0  # for which a session waits until what it reports is recorded
CUT_OFF_S = 5.0  # for closing and recording, once a session was cut off


@dataclass(slots=True)
class _Live:
    runner: SessionRunner
    row: SessionRow  # as this process knows it, whether the database has heard of it or not
    task: asyncio.Task[None] = field(init=False)
    recording: asyncio.Task[None] | None = None  # of its being ready


class Registry:
    """Holds the tasks. A session that ended is forgotten here once it has been reported."""

    def __init__(
        self, make_runner: Callable[[SessionSpec], SessionRunner], report: Reporter
    ) -> None:
        self._make_runner = make_runner
        self._report = report
        self._live: dict[str, _Live] = {}

    def spawn(self, spec: SessionSpec, row: SessionRow) -> None:
        """Start a session's task; returns at once."""
        live = _Live(self._make_runner(spec), row)
        live.task = asyncio.create_task(self._live_through(live), name=f"session {spec.id}")
        self._live[spec.id] = live

    def known(self, session_id: str) -> SessionRow | None:
        """The row of a session that runs here, or whose end is not recorded yet."""
        live = self._live.get(session_id)
        return live.row if live else None

    def stop(self, session_id: str, reason: EndReason) -> bool:
        """Ask a session to end; False when it isn't running here."""
        live = self._live.get(session_id)
        if live is None:
            return False
        if not State(live.row.state).terminal:
            live.row.state = State.ENDING
        live.runner.stop(reason)
        return True

    def interrupt(self, session_id: str) -> None:
        """Let a session fall silent, if it is running here."""
        live = self._live.get(session_id)
        if live is None:
            return
        try:
            live.runner.interrupt()
        except Exception:
            # One that is on its way out has closed what it would silence, and is silent.
            log.exception("session could not be interrupted", session_id=session_id)

    async def stats(self, session_id: str) -> dict[str, Any] | None:
        live = self._live.get(session_id)
        return await live.runner.stats() if live else None

    def report_observations(self) -> None:
        """Report what live sessions have observed since the last time."""
        for live in self._live.values():
            self._report.observed(live.runner.observations())

    async def gone(self, session_id: str, timeout_s: float) -> None:
        """Wait until a session that is over has given its place back, if it ran here."""
        if session_id in self._live:
            await asyncio.wait({self._live[session_id].task}, timeout=timeout_s)

    def running(self) -> int:
        return len(self._live)

    async def drain(self, timeout_s: float) -> None:
        """End every session for shutdown; those not gone in time are cancelled."""
        tasks = {live.task for live in self._live.values()}
        for live in self._live.values():
            live.runner.stop(EndReason.SHUTDOWN)
        for patience_s in (timeout_s, CUT_OFF_S):
            if not tasks:
                return
            _, tasks = await asyncio.wait(tasks, timeout=patience_s)
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live_through(self, live: _Live) -> None:
        session_id, runner = live.row.id, live.runner
        outcome = Outcome(EndReason.SHUTDOWN)  # what a cancelled task ends with
        try:
            outcome = await runner.run(lambda: self._became_ready(live))
        except Exception as error:
            log.exception("session task failed", session_id=session_id)
            outcome = Outcome.of_fault(error)
        finally:
            stats: dict[str, Any] = {}
            try:
                self._report.observed(runner.observations())
                stats = await runner.stats()
            except Exception:  # its end must be recorded all the same
                log.exception("what an ended session measured is lost", session_id=session_id)
            await self._finish(live, outcome, stats)

    async def _became_ready(self, live: _Live) -> None:
        """Record it; a database that does not answer holds no session up."""
        at = now()
        if live.row.state == State.STARTING:
            live.row.state, live.row.ready_at = State.READY, at
        live.recording = asyncio.create_task(self._record_ready(live.row.id, at))
        await asyncio.wait({live.recording}, timeout=RECORD_S)

    async def _record_ready(self, session_id: str, at: datetime) -> None:
        while True:
            try:
                return await self._report.ready(session_id, at)
            except Unhealthy:
                log.warning("session is ready, not recorded yet", session_id=session_id)
            except Exception:
                log.exception("session is ready, not recorded", session_id=session_id)
                return None
            await asyncio.sleep(REPORT_AGAIN_S)

    async def _finish(self, live: _Live, outcome: Outcome, stats: dict[str, Any]) -> None:
        """Report the end until the database has it: else its key would stay taken."""
        session_id, at = live.row.id, now()
        _close(live.row, outcome, at)
        try:
            if live.recording is not None:  # first things first, in the row's events as well
                await asyncio.wait({live.recording})
            while True:
                try:
                    return await self._report.finished(session_id, outcome, stats, at)
                except Unhealthy:
                    log.warning("end of session not recorded yet", session_id=session_id)
                except Exception:
                    log.exception("end of session not recorded", session_id=session_id)
                    stats = {}  # of all that is written, only they can be unwritable
                await asyncio.sleep(REPORT_AGAIN_S)
        finally:
            # Cut off at shutdown, the row stays as it is; the next start-up marks it lost.
            if live.recording is not None:
                live.recording.cancel()
            self._live.pop(session_id, None)


def _close(row: SessionRow, outcome: Outcome, at: datetime) -> None:
    row.state, row.ended_at, row.end_reason = outcome.state, at, outcome.reason
    if outcome.state is State.FAILED:
        row.error_code, row.error_detail = outcome.reason, outcome.detail
