"""Resources shared by all sessions of a process, opened and closed once."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext

from app.config import Settings
from app.outbound.gateway import open_gateway
from app.personas.catalogue import Catalogue
from app.process.malloc import share_arenas
from app.rtc.input.speech_gate import GateConfig
from app.rtc.output.av_out import OutputConfig
from app.rtc.output.timing import Timing, quantiles
from app.rtc.session import RoomSession, SessionResources
from app.session_types import SessionSpec
from app.telemetry.tracing import open_tracing
from engine import EnginePool, Persona, priority


@asynccontextmanager
async def open_resources(
    settings: Settings, catalogue: Catalogue, pool: EnginePool | None = None
) -> AsyncIterator[SessionResources]:
    """The warm engine and everything else that sessions share.

    Args:
        pool: one whose engine runs elsewhere; by default it runs in this process.

    Raises BackendUnavailable, with its remedy, before any session is admitted.
    """
    share_arenas()
    pool = pool or EnginePool(settings.engine_config())
    await asyncio.to_thread(pool.start)
    try:
        async with (
            open_tracing(settings.otel_endpoint) as tracing,
            open_gateway(settings.livekit_url) as gateway,
        ):
            # What exists now lives as long as the process. Freezing it keeps collections short,
            # and their pauses off the sessions' clocks (field.md §5.2).
            # The first computation of a session's statistics took a host's loop 80 ms; do it now.
            Timing().body(time.monotonic())
            quantiles((0.0, 1.0), 50, 95, 99)
            gc.collect()
            gc.freeze()
            with priority.going_first(priority.LOOP) if settings.realtime else nullcontext():
                yield SessionResources(
                    pool=pool,
                    load_persona=_loader(catalogue, pool),
                    joins=asyncio.Semaphore(settings.joins_at_once),
                    output=OutputConfig(silence_rms=settings.silence_rms),
                    codec=settings.video_codec,
                    tracing=tracing,
                    gateway=gateway,
                    alone_s=settings.alone_s,
                    gate=GateConfig(settings.barge_in_rms, settings.barge_in_ms / 1000),
                )
    finally:
        await pool.aclose()
        gc.unfreeze()


def runner_on(resources: SessionResources) -> Callable[[SessionSpec], RoomSession]:
    """A factory of session runners that use these resources."""
    return lambda spec: RoomSession(spec, resources)


def _loader(catalogue: Catalogue, pool: EnginePool) -> Callable[[SessionSpec], Awaitable[Persona]]:
    # One at a time: later sessions of a burst find what the first one created.
    admission = asyncio.Lock()

    async def load(spec: SessionSpec) -> Persona:
        size = spec.video.width, spec.video.height
        persona = await catalogue.load(spec.persona, *size, caller=spec.caller)
        async with admission:
            await asyncio.to_thread(pool.admit, persona)
        return persona

    return load
