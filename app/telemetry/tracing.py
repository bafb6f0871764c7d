"""Spans of sessions and their turns, for who sets OTEL_EXPORTER_OTLP_ENDPOINT; else nothing.

What is told here has happened already, with its moments (seconds of time.monotonic()): a turn is
one call at its end, and costs a session nothing while it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from app.session_types import Outcome, SessionSpec
from app.telemetry.turns import Turn
from engine import remedies

log = structlog.get_logger(__name__)

MISSING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra `otel` is not installed, so no spans are "
    f"sent. Install it with: {remedies.install_extras('otel')}"
)
WRONG = "OTEL_EXPORTER_OTLP_ENDPOINT is no http:// or https:// URL, so no spans are sent."


class Trace(Protocol):
    """One session's."""

    def ready(self, now: float) -> None: ...

    def turn(self, turn: Turn) -> None:
        """A turn that has ended."""
        ...

    def end(self, now: float, outcome: Outcome) -> None: ...


class Tracing(Protocol):
    """Begins the trace of each session."""

    def session(self, spec: SessionSpec) -> Trace: ...


class NoTrace:
    """Nobody wants to know."""

    def ready(self, now: float) -> None: ...

    def turn(self, turn: Turn) -> None: ...

    def end(self, now: float, outcome: Outcome) -> None: ...


class NoTracing:
    def session(self, spec: SessionSpec) -> Trace:
        return NoTrace()


NO_TRACING = NoTracing()


@asynccontextmanager
async def open_tracing(endpoint: str) -> AsyncIterator[Tracing]:
    """Sends to a collector's base URL; what is still to be sent goes out at the end.

    Without an endpoint nothing of OpenTelemetry's SDK is imported.
    """
    if not endpoint:
        yield NO_TRACING
        return
    if urlsplit(endpoint).scheme not in ("http", "https"):
        log.warning(WRONG)
        yield NO_TRACING
        return
    try:
        from app.telemetry.spans import SpanTracing
    except ImportError:
        log.warning(MISSING)
        yield NO_TRACING
        return
    tracing = SpanTracing(endpoint)
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.close)
