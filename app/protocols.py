"""What the control plane asks of a session, of the engine, and of whoever hears of both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol

from app.session_types import EndReason, Outcome
from engine.core.types import EngineStats


class SessionRunner(Protocol):
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
        """What was observed since the last call: `app.telemetry.histograms.Observed.drain`."""
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

    async def ready(self, session_id: str, at: datetime) -> None: ...

    async def finished(
        self, session_id: str, outcome: Outcome, stats: dict[str, Any], at: datetime | None = None
    ) -> None: ...

    def observed(self, observations: dict[str, Any]) -> None: ...
