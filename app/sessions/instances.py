"""Which process owns which session, and what becomes of the sessions of one that died."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import structlog

from app.db.columns import now
from app.db.database import Database
from app.db.tables import InstanceRow
from app.errors import Unhealthy
from app.session_types import EndReason, FailureCode, Outcome
from app.sessions.events import SessionEvents
from app.sessions.instance_repository import InstanceRepository
from app.sessions.repository import SessionRepository

log = structlog.get_logger(__name__)

BEAT_S = 3.0
SILENCE_S = 15.0  # a process of another host that beats no more for so long is dead
LOST = Outcome(FailureCode.LOST, "The process that ran the session died.")


@dataclass(frozen=True, slots=True)
class _Heard:
    """When another process's heartbeat was last seen to change, by our own clock."""

    heartbeat: float
    at: float
    changed: bool


class Instance:
    """This process among those that share the database."""

    def __init__(self, database: Database, reports: SessionEvents) -> None:
        self._database = database
        self._reports = reports
        self._heard: dict[str, _Heard] = {}
        self.id = f"ins_{secrets.token_hex(8)}"
        self._looked_at = time.monotonic()
        self.settled = False  # nothing that a dead process left is still shown as live

    async def register(self) -> None:
        """Enrol, and mark what dead processes left behind."""
        process = psutil.Process()
        async with self._database.write() as session:
            InstanceRepository(session).add(
                InstanceRow(
                    id=self.id,
                    host=_host(),
                    pid=process.pid,
                    process_started=process.create_time(),
                    started_at=now(),
                    heartbeat_at=now(),
                )
            )
        await self.reap()

    async def beat(self) -> dict[str, EndReason]:
        """Show that we live; returns our sessions that somebody, anywhere, asked to end."""
        async with self._database.write() as session:
            await InstanceRepository(session).beat(self.id)
            return await SessionRepository(session).asked_to_end(self.id)

    async def reap(self) -> None:
        """Fail the sessions of every process that died."""
        async with self._database.read() as session:
            owners = await InstanceRepository(session).others_with_sessions(self.id)
            self._excuse_outage(time.monotonic())
            verdicts = {owner.id: self._lives(owner) for owner in owners}
        dead = [owner for owner, lives in verdicts.items() if lives is False]
        if dead:
            await self._mark_lost(dead)
        self.settled = self.settled or all(lives is not None for lives in verdicts.values())

    async def deregister(self) -> None:
        """Sign off: whatever is still shown as live is nobody's now."""
        try:
            async with self._database.write() as session:
                await InstanceRepository(session).stop(self.id)
        except Unhealthy:
            log.warning("the database does not hear of our end; others will notice it")

    async def _mark_lost(self, instances: Iterable[str]) -> None:
        async with self._database.read() as session:
            lost = await SessionRepository(session).of_instances(instances)
        for session_id in lost:
            log.warning("session lost", session_id=session_id)
            await self._reports.finished(session_id, LOST, None)

    def _lives(self, other: InstanceRow) -> bool | None:
        """None while it cannot be told yet: a process of another host must be listened to."""
        if other.stopped_at is not None:
            return False
        if other.host == _host():
            return _runs(other.pid, other.process_started)
        return self._listen(other.id, other.heartbeat_at.timestamp(), time.monotonic())

    def _excuse_outage(self, at: float) -> None:
        """Wait anew for everybody's heartbeat after a time in which we could not look.

        Others could not write theirs then either: who first reaches a database that is back would
        take all others for dead, whose calls go on.
        """
        if at - self._looked_at > 2 * BEAT_S:
            self._heard = {
                instance: replace(heard, at=at) for instance, heard in self._heard.items()
            }
        self._looked_at = at

    def _listen(self, instance: str, heartbeat: float, at: float) -> bool | None:
        # Only changes count, so that the clocks of two hosts need not agree.
        known = self._heard.get(instance)
        if known is None or known.heartbeat != heartbeat:
            self._heard[instance] = _Heard(heartbeat, at, changed=known is not None)
            return True if known is not None else None
        if at - known.at > SILENCE_S:
            return False
        return True if known.changed else None


def _host() -> str:
    """Processes that see each other by number have the same: host name and process namespace."""
    namespace = Path("/proc/self/ns/pid")
    visible = str(namespace.readlink()) if namespace.is_symlink() else ""
    return f"{socket.gethostname()} {visible}".strip()


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # Start times are reckoned from the clock, which may be set between two readings.
        same = abs(process.create_time() - started) < 5.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
