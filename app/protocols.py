"""What the control plane needs from sessions and the engine, and who receives their events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from app.session_types import EndReason, Outcome
from engine import EngineStats


class SessionRunner(Protocol):
    """One session's whole life in a room."""

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """Join, speak, leave. Closes everything it opened before it returns."""
        ...

    def stop(self, reason: EndReason) -> None:
        """Ask the session to end. Idempotent: the first reason counts."""
        ...

    def interrupt(self) -> None:
        """Stop speaking now and discard the audio received so far."""
        ...

    async def stats(self) -> dict[str, Any]:
        """The body of `GET /sessions/{id}/stats`."""
        ...

    def observations(self) -> dict[str, Any]:
        """Observations since the last call: `app.telemetry.histograms.Observed.drain`."""
        ...


class Engine(Protocol):
    """The engine pool as the control plane sees it."""

    @property
    def capacity(self) -> int:
        """How many sessions can run at once."""
        ...

    @property
    def fault(self) -> str | None:
        """Why the engine no longer renders."""
        ...

    @property
    def no_worker(self) -> str | None:
        """Why no worker can run a session now although the engine works."""
        ...

    def beat_age_s(self) -> float: ...

    def stats(self) -> EngineStats: ...


class Reporter(Protocol):
    """Receives session events; each call is its own transaction."""

    async def ready(self, session_id: str, at: datetime) -> None: ...

    async def finished(
        self, session_id: str, outcome: Outcome, stats: dict[str, Any], at: datetime | None = None
    ) -> None: ...

    def observed(self, observations: dict[str, Any]) -> None: ...
