"""Whether the process works, and whether it can take new sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from app.errors import Unhealthy
from app.protocols import Engine

BEAT_LIMIT_S = 2.0  # docs/api.md, "The service"
ASK_S = 3.0

Check = Callable[[], Awaitable[None]]
"""Returns if a session could start as far as this check can tell; otherwise raises an AppError that
says what is missing. Each check looks afresh, so that a repair counts at the next request."""


class Health:
    """`/health` says whether this process works; `/ready` also runs the checks.

    `/health` depends on nothing outside. Losing the database ends no call, so it must not make an
    orchestrator restart the process, which would end all of them.
    """

    def __init__(self, engine: Engine, checks: Mapping[str, Check]) -> None:
        """`checks`: by subject, in the order in which they run."""
        self._engine = engine
        self._checks = checks

    def require_health(self) -> None:
        """Raises Unhealthy with the fault. Being called at all shows that the event loop runs."""
        if (fault := self._engine.fault) is not None:
            raise Unhealthy(fault)
        if (silent := self._engine.beat_age_s()) >= BEAT_LIMIT_S:
            raise Unhealthy(f"The engine's thread has not moved for {silent:.1f} s.")

    async def require_readiness(self) -> None:
        """Raises the error of the first failing check, if any."""
        self.require_health()
        for subject, check in self._checks.items():
            try:
                async with asyncio.timeout(ASK_S):
                    await check()
            except TimeoutError:
                raise Unhealthy(f"The check of {subject} took over {ASK_S:g} s.") from None
