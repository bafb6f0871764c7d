"""The rules of sessions: how they are admitted, awaited and ended."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

import structlog

from app.config import Settings
from app.db.columns import now
from app.db.database import Database
from app.db.tables import SessionRow
from app.errors import (
    CapacityExhausted,
    Draining,
    Unhealthy,
)
from app.personas.catalogue import Catalogue
from app.personas.rules import require_persona
from app.protocols import Engine
from app.session_types import (
    EndReason,
    Limits,
    Outcome,
    SessionSpec,
    State,
    VideoSpec,
)
from app.sessions.events import SessionEvents
from app.sessions.join import Joining, plan_joining
from app.sessions.locks import Key, KeyLocks
from app.sessions.preflight import Preflight
from app.sessions.registry import Registry
from app.sessions.schemas import CreateSession, Listing, ViewerToken, ViewerTokenRequest
from app.sessions.store import SessionStore, conflict
from app.sessions.viewers import admit_viewer
from app.telemetry.prometheus import Metrics

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 5
POLL_S = 1.0  # between reads of another process's session while waiting for it


class Sessions:
    """What endpoints call. `draining` is true as soon as a shutdown begins."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        catalogue: Catalogue,
        engine: Engine,
        registry: Registry,
        events: SessionEvents,
        metrics: Metrics,
        instance_id: str,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._engine = engine
        self._registry = registry
        self._events = events
        self._metrics = metrics
        self._instance_id = instance_id
        self.preflight = Preflight(settings, database)
        self._store = SessionStore(database, registry, events)
        self._keys = KeyLocks()
        self.takeovers = KeyLocks()  # one request at a time may replace an avatar
        self._reserved = 0
        self._none_reserved = asyncio.Event()
        self._none_reserved.set()
        self.draining = False

    async def create(
        self, wanted: CreateSession, requested_at: float, caller: str = ""
    ) -> SessionRow:
        """Insert a row in `starting` and spawn its task. A refusal leaves neither behind."""
        self._require_open()
        session_id = f"ses_{secrets.token_hex(12)}"
        joining = plan_joining(self._settings, session_id, wanted)
        await require_persona(self._catalogue, wanted.persona)
        # An earlier request for the same avatar goes first, so that this one fails as a conflict
        # and not for lack of places. No place is reserved while LiveKit is asked: it may be slow.
        async with self._keys.of(joining.key):
            await self._require_free(joining)
            self._require_place()
        public_only = await self.preflight.ask(
            joining.livekit_url, joining.token(), external=joining.external
        )
        async with self._keys.of(joining.key):
            await self._require_free(joining)
            with self._slot():
                row = self._row(session_id, wanted, joining)
                row = await self._store.insert(row)
                spec = _spec(row, joining, requested_at, public_only)
                self._spawn(replace(spec, caller=caller), row)
        self._metrics.created.inc()
        self._events.notify()
        return row

    async def get(self, session_id: str) -> SessionRow:
        """Works without the database too, if the session runs here."""
        return await self._store.get(session_id)

    async def page(self, wanted: Listing) -> tuple[Sequence[SessionRow], str | None]:
        return await self._store.page(wanted)

    async def started(self, session_id: str, timeout_s: float) -> SessionRow:
        """Wait until the session is no longer `starting`; return its row then, or at timeout."""
        return await self._until(session_id, lambda state: state != State.STARTING, timeout_s)

    async def ended(self, session_id: str, timeout_s: float) -> SessionRow:
        """Wait until the session has ended and its place is free; return its row, or at timeout."""
        row = await self._until(session_id, lambda state: state.terminal, timeout_s)
        if State(row.state).terminal:  # recorded shortly before the task is over
            await self._registry.wait_released(session_id, timeout_s)
        return row

    async def holder(self, key: Key) -> SessionRow | None:
        """The live session that holds an avatar's key."""
        return await self._store.holder(key)

    async def _until(
        self, session_id: str, reached: Callable[[State], bool], timeout_s: float
    ) -> SessionRow:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            changed = self._events.changed
            row = await self.get(session_id)
            left = deadline - loop.time()
            if reached(State(row.state)) or left <= 0:
                return row
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(left, POLL_S))

    async def delete(self, session_id: str, reason: EndReason = EndReason.DELETED) -> SessionRow:
        """Ask a session to end; returns its row, in `ending` or final. Idempotent."""
        row = await self._store.mark_ending(session_id, reason)
        # A session of another process is stopped by that process's housekeeping.
        if self._registry.stop(session_id, reason) and row is self._registry.known(session_id):
            self._events.notify()  # the database is away, so no recorded event will do it
        return row

    async def interrupt(self, session_id: str) -> SessionRow:
        """Stop a session's speech; no effect on one that has ended."""
        self._registry.interrupt(session_id)  # first, because every millisecond is audible
        return await self.get(session_id)

    def report_observations(self) -> None:
        """Update `/metrics` with what live sessions measured."""
        self._registry.report_observations()

    async def stats(self, session_id: str) -> dict[str, Any]:
        row = await self.get(session_id)
        return await self._registry.stats(session_id) or row.stats or {}

    async def viewer_token(self, session_id: str, wanted: ViewerTokenRequest) -> ViewerToken:
        row = await self.get(session_id)
        return await admit_viewer(self._settings, self._store, row, wanted)

    async def drain(self) -> None:
        """Refuse new sessions and end all live ones; cancel those that take too long."""
        self.draining = True
        await self._none_reserved.wait()  # takes no longer than writing a row
        await self._registry.drain(self._settings.drain_s)
        await self._store.aclose()

    def _require_open(self) -> None:
        if self.draining:
            raise Draining("The service is shutting down and takes no new sessions.")

    async def _require_free(self, joining: Joining) -> None:
        if await self.holder(joining.key) is not None:
            raise conflict(joining.identity, joining.room)

    def _require_place(self) -> None:
        if (fault := self._engine.fault) is not None:
            raise Unhealthy(f"The engine has stopped: {fault}")
        if (reason := self._engine.no_worker) is not None:
            raise Unhealthy(reason, retry_after_s=RETRY_AFTER_S)
        if self._registry.running() + self._reserved >= self._engine.capacity:
            raise CapacityExhausted(
                f"All {self._engine.capacity} places are taken; try again when one is free.",
                retry_after_s=RETRY_AFTER_S,
            )

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Reserves a place in the engine's capacity until the session's task holds it."""
        self._require_open()
        self._require_place()
        self._reserved += 1
        self._none_reserved.clear()
        try:
            yield
        finally:
            self._reserved -= 1
            if self._reserved == 0:
                self._none_reserved.set()

    def _spawn(self, spec: SessionSpec, row: SessionRow) -> None:
        try:
            self._registry.spawn(spec, row)
        except Exception as error:
            self._store.close_row(spec.id, Outcome.of_fault(error))
            raise

    def _row(self, session_id: str, wanted: CreateSession, joining: Joining) -> SessionRow:
        return SessionRow(
            id=session_id,
            instance_id=self._instance_id,
            state=State.STARTING,
            room=wanted.room,
            persona=wanted.persona,
            identity=joining.identity,
            livekit_url=joining.livekit_url,
            external=joining.external,
            audio=asdict(joining.audio),
            video=wanted.video.model_dump(),
            limits=wanted.limits.model_dump(),
            caller_metadata=wanted.metadata,
            created_at=now(),
        )


def _spec(row: SessionRow, joining: Joining, requested_at: float, public_only: bool) -> SessionSpec:
    return SessionSpec(
        id=row.id,
        room=row.room,
        persona=row.persona,
        identity=row.identity,
        livekit_url=row.livekit_url,
        token=joining.token,
        requested_at=requested_at,
        e2ee_key=joining.e2ee_key,
        external=joining.external,
        public_only=public_only,
        audio=joining.audio,
        video=VideoSpec(**row.video),
        limits=Limits(**row.limits),
    )
