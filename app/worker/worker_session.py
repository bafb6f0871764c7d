"""A session that runs in a worker process, as seen by the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.personas.catalogue import Catalogue
from app.session_types import EndReason, FailureCode, Outcome, SessionSpec
from app.telemetry.histograms import Observed
from app.worker.messages import outcome_of
from engine import EngineError, Persona

if TYPE_CHECKING:
    from app.worker.session_hosts import Worker, WorkerPool

STATS_S = 1.0
NO_PLACE = "No process took the session in time."


class WorkerSession:
    """A `SessionRunner` whose room is in a worker."""

    def __init__(self, spec: SessionSpec, workers: WorkerPool, catalogue: Catalogue) -> None:
        loop = asyncio.get_running_loop()
        self._workers = workers
        self._catalogue = catalogue
        self._worker: Worker | None = None
        self._persona: Persona | None = None
        self._stats_reply: asyncio.Future[dict[str, Any]] | None = None
        self._stats: dict[str, Any] = {}
        self._observed = Observed()
        self._stopped: asyncio.Future[EndReason] = loop.create_future()
        self.spec = spec
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Outcome] = loop.create_future()

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """Place the session in a worker and wait for its end; cancelling cuts it off there."""
        began = time.monotonic()
        try:
            worker = await self._placed()
        except EngineError as error:
            return Outcome.of(error)
        except TimeoutError:
            detail = f"{NO_PLACE} {self._workers.fault or ''}".rstrip()
            return Outcome(FailureCode.JOIN_TIMEOUT, detail)
        if worker is None:
            return Outcome(self._stopped.result())
        self._worker = worker
        worker.begin(self, waited_s=time.monotonic() - began)
        try:
            either: set[asyncio.Future[Any]] = {self.ready, self.ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self.ready.done():
                await on_ready()
            return await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            worker.send("cut", self.spec.id)
            raise

    async def _placed(self) -> Worker | None:
        """The worker that will run it; None if the session was stopped first.

        Raises EngineError, and TimeoutError after the session's join timeout.
        """

        async def place() -> Worker:
            name, video = self.spec.persona, self.spec.video
            # Kept while the session lives, so that its files stay until the worker has read them.
            self._persona = await self._catalogue.load(
                name, video.width, video.height, caller=self.spec.caller
            )
            return await self._workers.place()

        placing = asyncio.create_task(place())
        either: set[asyncio.Future[Any]] = {placing, self._stopped}
        limit_s = self.spec.limits.join_timeout_s
        try:
            await asyncio.wait(either, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.done():
                return None
            if not placing.done():
                raise TimeoutError
            return placing.result()
        finally:
            placing.cancel()
            await asyncio.gather(placing, return_exceptions=True)

    def stop(self, reason: EndReason) -> None:
        if not self._stopped.done():
            self._stopped.set_result(reason)
        if self._worker is not None:
            self._worker.send("stop", self.spec.id, reason=reason.value)

    def interrupt(self) -> None:
        if self._worker is not None:
            self._worker.send("interrupt", self.spec.id)

    async def stats(self) -> dict[str, Any]:
        """Current values; the last known ones once it has ended or if the worker is silent."""
        if self._worker is not None and not self.ended.done():
            if self._stats_reply is None or self._stats_reply.done():
                self._stats_reply = asyncio.get_running_loop().create_future()
                self._worker.send("stats", self.spec.id)
            with suppress(TimeoutError):
                async with asyncio.timeout(STATS_S):
                    await asyncio.shield(self._stats_reply)
        return self._stats

    def observations(self) -> dict[str, Any]:
        return self._observed.drain()

    def handle(self, message: dict[str, Any]) -> None:
        """Handle an event of this session that its worker sent."""
        self._observed.merge(message.get("observations", {}))
        if "stats" in message:
            self._stats = message["stats"]
            if self._stats_reply is not None and not self._stats_reply.done():
                self._stats_reply.set_result(self._stats)
        if message["did"] == "ready" and not self.ready.done():
            self.ready.set_result(None)
        if message["did"] == "ended":
            self.end(outcome_of(message["outcome"]))

    def end(self, outcome: Outcome) -> None:
        if not self.ended.done():
            self.ended.set_result(outcome)
