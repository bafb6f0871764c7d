"""A session host: runs some of the service's sessions in a worker process."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.process.background import repeat
from app.rtc.resources import open_resources
from app.rtc.session import RoomSession, SessionResources
from app.session_types import EndReason, Outcome
from app.telemetry.loop_lag import LoopLag, watch_loop_lag
from app.worker.channel import Channel
from app.worker.messages import outcome_body, spec_of
from engine import BackendUnavailable, cores, remote_pool

log = structlog.get_logger(__name__)

BEAT_S = 0.5
UNBOUNDED = 1000  # streams: admission is decided before a session gets here


async def host(settings: Settings, channel: Channel, engine: str) -> None:
    """Run sessions until the channel closes, then let them leave their rooms."""
    asyncio.get_running_loop().set_default_executor(cores.waiting_threads("worker"))
    catalogue = Catalogue.of(settings)
    config = replace(settings.engine_config(), max_streams=UNBOUNDED)
    pool = remote_pool(config, Path(engine))
    try:
        async with AsyncExitStack() as exits:
            resources = await exits.enter_async_context(open_resources(settings, catalogue, pool))
            channel.send(did="started")
            session_host = SessionHost(settings, resources, channel)
            lag = exits.enter_context(watch_loop_lag())
            beating = asyncio.create_task(
                repeat("the heartbeat", BEAT_S, lambda: session_host.beat(lag))
            )
            async for message in channel.messages():
                await session_host.handle(message)
            beating.cancel()
            await session_host.drain(settings.drain_s)
    except BackendUnavailable as error:
        channel.send(did="refused", detail=str(error))
    finally:
        await catalogue.aclose()
        await channel.aclose()


class SessionHost:
    """The sessions of this worker process."""

    def __init__(self, settings: Settings, resources: SessionResources, channel: Channel) -> None:
        self._settings = settings
        self._resources = resources
        self._channel = channel
        self._live: dict[str, tuple[RoomSession, asyncio.Task[None]]] = {}

    async def handle(self, message: dict[str, Any]) -> None:
        """Run a command. A failing command affects its own session only; this process and all its
        other sessions go on."""
        try:
            await self._run_command(message)
        except Exception:
            log.exception("command failed", command=message.get("do"), session_id=_id_of(message))
            if message.get("do") == "start":
                outcome = outcome_body(Outcome.of_fault())
                self._send(_id_of(message), "ended", outcome=outcome)

    async def _run_command(self, message: dict[str, Any]) -> None:
        if message["do"] == "start":
            spec = spec_of(message["spec"], self._settings)
            session = RoomSession(spec, self._resources)
            task = asyncio.create_task(self._run_session(spec.id, session), name=spec.id)
            self._live[spec.id] = (session, task)
            return
        live = self._live.get(message["id"])
        if live is None:
            return  # it has ended and said so
        session, task = live
        match message["do"]:
            case "stop":
                session.stop(EndReason(message["reason"]))
            case "cut":
                task.cancel()
            case "interrupt":
                session.interrupt()
            case "stats":
                self._send(message["id"], "stats", stats=await session.stats())

    async def beat(self, lag: LoopLag) -> None:
        """Send a heartbeat, which shows that the loop runs, and the latest observations."""
        self._channel.send(did="beat", pulse=lag.body())
        for session_id, (session, _) in list(self._live.items()):
            self._send(session_id, "observed", observations=session.observations())

    async def drain(self, timeout_s: float) -> None:
        """End every session, waiting up to `timeout_s`."""
        for session, _ in self._live.values():
            session.stop(EndReason.SHUTDOWN)
        tasks = [task for _, task in self._live.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_session(self, session_id: str, session: RoomSession) -> None:
        async def on_ready() -> None:
            self._send(session_id, "ready")

        outcome = Outcome(EndReason.SHUTDOWN)
        try:
            outcome = await session.run(on_ready)
        except Exception:
            log.exception("session task failed", session_id=session_id)
            outcome = Outcome.of_fault()
        finally:
            self._live.pop(session_id, None)
            last: dict[str, Any] = {}
            try:
                last = {"stats": await session.stats(), "observations": session.observations()}
            except Exception:  # the end must be reported all the same
                log.exception(
                    "the measurements of an ended session are lost", session_id=session_id
                )
            self._send(session_id, "ended", outcome=outcome_body(outcome), **last)

    def _send(self, session_id: str, did: str, **more: Any) -> None:
        self._channel.send(did=did, id=session_id, **more)


def _id_of(message: dict[str, Any]) -> str:
    """The session that a command refers to, even if the command is malformed."""
    spec = message.get("spec")
    return str(message.get("id") or (spec.get("id") if isinstance(spec, dict) else None))
