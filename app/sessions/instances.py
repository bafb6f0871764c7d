"""Which process owns which session, and how the sessions of a dead process are reaped."""

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
SILENCE_S = 15.0  # a process on another host counts as dead after this long without a heartbeat
LOST = Outcome(FailureCode.LOST, "The process that ran the session died.")


@dataclass(frozen=True, slots=True)
class _Heartbeat:
    """The last heartbeat seen of another process, and when it changed by this host's clock."""

    heartbeat: float
    at: float
    changed: bool


class Instance:
    """This process among all that share the database."""

    def __init__(self, database: Database, events: SessionEvents) -> None:
        self._database = database
        self._events = events
        self._heartbeats: dict[str, _Heartbeat] = {}
        self.id = f"ins_{secrets.token_hex(8)}"
        self._checked_at = time.monotonic()
        self.settled = False  # True once no session of a dead process is still shown as live

    async def register(self) -> None:
        """Insert this instance's row, and fail the sessions of dead processes."""
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
        """Write a heartbeat; returns this process's sessions that any process asked to end."""
        async with self._database.write() as session:
            await InstanceRepository(session).beat(self.id)
            return await SessionRepository(session).asked_to_end(self.id)

    async def reap(self) -> None:
        """Fail the sessions of every process that has died."""
        async with self._database.read() as session:
            owners = await InstanceRepository(session).others_with_sessions(self.id)
            self._excuse_outage(time.monotonic())
            verdicts = {owner.id: self._is_alive(owner) for owner in owners}
        dead = [owner for owner, alive in verdicts.items() if alive is False]
        if dead:
            await self._mark_lost(dead)
        self.settled = self.settled or all(alive is not None for alive in verdicts.values())

    async def deregister(self) -> None:
        """Mark this instance as stopped, so that others reap what it still shows as live."""
        try:
            async with self._database.write() as session:
                await InstanceRepository(session).stop(self.id)
        except Unhealthy:
            log.warning("the shutdown could not be recorded; other processes will notice it")

    async def _mark_lost(self, instances: Iterable[str]) -> None:
        async with self._database.read() as session:
            lost = await SessionRepository(session).of_instances(instances)
        for session_id in lost:
            log.warning("session lost", session_id=session_id)
            await self._events.finished(session_id, LOST, None)

    def _is_alive(self, other: InstanceRow) -> bool | None:
        """None while undecided: a process on another host must be watched for a while."""
        if other.stopped_at is not None:
            return False
        if other.host == _host():
            return _runs(other.pid, other.process_started)
        return self._check_heartbeat(other.id, other.heartbeat_at.timestamp(), time.monotonic())

    def _excuse_outage(self, at: float) -> None:
        """Restart the wait for every heartbeat after a time without access to the database.

        The others could not write theirs either. Otherwise the first process to reach the database
        again would take all others for dead, although their calls go on.
        """
        if at - self._checked_at > 2 * BEAT_S:
            self._heartbeats = {
                instance: replace(seen, at=at) for instance, seen in self._heartbeats.items()
            }
        self._checked_at = at

    def _check_heartbeat(self, instance: str, heartbeat: float, at: float) -> bool | None:
        # Only changes count, so that the clocks of two hosts need not agree.
        known = self._heartbeats.get(instance)
        if known is None or known.heartbeat != heartbeat:
            self._heartbeats[instance] = _Heartbeat(heartbeat, at, changed=known is not None)
            return True if known is not None else None
        if at - known.at > SILENCE_S:
            return False
        return True if known.changed else None


def _host() -> str:
    """Host name and process namespace: equal for processes that see each other's process ids."""
    namespace = Path("/proc/self/ns/pid")
    visible = str(namespace.readlink()) if namespace.is_symlink() else ""
    return f"{socket.gethostname()} {visible}".strip()


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        # Start times derive from the clock, which may be set between two readings.
        same = abs(process.create_time() - started) < 5.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
