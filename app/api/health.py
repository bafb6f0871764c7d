"""Whether the process does its work, and whether it may be sent more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from app.errors import Unhealthy
from app.protocols import Engine

BEAT_LIMIT_S = 2.0  # contract.md, Starting it
ASK_S = 3.0

Check = Callable[[], Awaitable[None]]
"""Returns while a session could begin, as far as this one check can tell; else raises an AppError
whose sentence says what is missing. Each looks anew: what was mended counts at the next request."""


class Health:
    """`/health` says whether this process moves; `/ready` runs the checks as well.

    `/health` asks nobody else. A database that is away ends no call, so it must not have the
    process restarted either, which would end them all.
    """

    def __init__(self, engine: Engine, checks: Mapping[str, Check]) -> None:
        """`checks`: by what they look at, in the order in which they run."""
        self._engine = engine
        self._checks = checks

    def require_health(self) -> None:
        """Raises Unhealthy with what is wrong. That it runs at all shows the loop turning."""
        if (fault := self._engine.fault) is not None:
            raise Unhealthy(fault)
        if (silent := self._engine.beat_age_s()) >= BEAT_LIMIT_S:
            raise Unhealthy(f"The engine's thread has not moved for {silent:.1f} s.")

    async def require_readiness(self) -> None:
        """Raises what the first failing check raises, unless a session can begin now."""
        self.require_health()
        for subject, check in self._checks.items():
            try:
                async with asyncio.timeout(ASK_S):
                    await check()
            except TimeoutError:
                raise Unhealthy(f"The check of {subject} took over {ASK_S:g} s.") from None
