"""One session's life: persona, engine stream, room, and clean-up."""

from __future__ import annotations

import asyncio
import gc
import time
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog
from livekit import rtc

from app.outbound.gateway import Admission, Gateway
from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.input.barge_in import BargeIn
from app.rtc.input.encryption import Encryption
from app.rtc.input.microphone import Microphone
from app.rtc.input.speech_gate import USUAL, GateConfig
from app.rtc.output.av_out import AvOut, OutputConfig
from app.rtc.output.timing import Timing
from app.rtc.recreated_room import ALONE_S
from app.rtc.room import AvatarRoom, LiveKitLost
from app.rtc.sdk.refusal import JoinError, TokenRefused
from app.session_types import EndReason, FailureCode, Outcome, SessionSpec, shortage_outcome
from app.telemetry.tracing import NO_TRACING, Tracing
from engine import EngineError, EnginePool, Persona, ResourceShortage, out_of_descriptors

log = structlog.get_logger(__name__)

COLLECT_AFTER_S = 0.5  # an ended session's objects are out of use by then
REJOIN_PAUSE_S = 0.25  # between attempts to join at the start
CHECK_S = 0.25  # between checks, during the join, that descriptors are left
RENEW = "Ask for a new session, with a new token."
REKEY = "Set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to its own."


@dataclass(frozen=True, slots=True)
class SessionResources:
    """What every session of a process shares."""

    pool: EnginePool
    load_persona: Callable[[SessionSpec], Awaitable[Persona]]
    joins: asyncio.Semaphore
    output: OutputConfig
    codec: Literal["h264", "vp8"]
    tracing: Tracing = NO_TRACING
    gateway: Gateway | None = None  # LiveKit's library connects through it; None: directly
    alone_s: float = ALONE_S  # how long a recreated room may stay without people
    gate: GateConfig = USUAL  # what counts as a person's speech, for `barge_in`


class SpeechSource(Protocol):
    """The source of a session's speech: `Microphone`, or `AgentSpeech` (within `BargeIn`)."""

    def attach(self, room: rtc.Room) -> None: ...

    async def drain(self) -> None:
        """Finish before the session leaves its room, if the room still exists."""
        ...

    async def aclose(self) -> None: ...

    def interrupt(self) -> None: ...


class RoomSession:
    """A `SessionRunner`: joins, speaks, leaves. However it ends, the same clean-up runs."""

    def __init__(self, spec: SessionSpec, resources: SessionResources) -> None:
        self._spec = spec
        self._resources = resources
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._timing = Timing()
        self._trace = resources.tracing.session(spec)
        self._trouble = ""  # the last reason why joining failed
        self._shortage: ResourceShortage | None = None  # a cause on this machine, if any
        self._admission: Admission | None = None
        self._source: SpeechSource | None = None
        self.room: AvatarRoom | None = None

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """Run the session. Closes everything it opened, and does not raise."""
        structlog.contextvars.bind_contextvars(session_id=self._spec.id)
        try:
            async with AsyncExitStack() as exits:
                await self._live(exits, on_ready)
        except EngineError as error:
            self._end(Outcome.of(error))
        except TokenRefused as error:
            self._end(self._refused(error, FailureCode.LIVEKIT_TOKEN_REJECTED))
        except asyncio.CancelledError:
            self._end(Outcome(EndReason.SHUTDOWN))
            self._trace.end(time.monotonic(), self._ended.result())
            raise
        except Exception as error:
            log.exception("session failed")
            self._end(Outcome.of_fault(error))
        # A room holds reference cycles, and some ten threads and sockets, until it is collected.
        # Older objects are frozen (resources.py), so a collection takes milliseconds.
        asyncio.get_running_loop().call_later(COLLECT_AFTER_S, gc.collect)
        outcome = self._ended.result()
        self._trace.end(time.monotonic(), outcome)
        log.info("session ended", reason=str(outcome.reason), detail=outcome.detail)
        return outcome

    def stop(self, reason: EndReason) -> None:
        """End for an external reason; the first one counts."""
        self._end(Outcome(reason))

    def interrupt(self) -> None:
        """Stop speaking now and discard the speech received so far. Does nothing in a session that
        is ending, which stops anyway and may have closed its source."""
        if self._source is not None and not self._ended.done():
            self._source.interrupt()

    def _forget_source(self) -> None:
        self._source = None

    async def stats(self) -> dict[str, Any]:
        return self._timing.body(time.monotonic())

    def observations(self) -> dict[str, Any]:
        return self._timing.observed.drain()

    async def _live(self, exits: AsyncExitStack, on_ready: Callable[[], Awaitable[None]]) -> None:
        limit = self._spec.limits.join_timeout_s
        start = asyncio.create_task(self._start(exits))
        either: set[asyncio.Future[Any]] = {start, self._ended}
        left_s = max(0.0, limit - self._spec.waited_s)
        watch = asyncio.create_task(self._watch_descriptors())
        await asyncio.wait(either, timeout=left_s, return_when=FIRST_COMPLETED)
        watch.cancel()
        if not start.done():
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
            detail = f"The avatar was not live within {limit:g} s. {self._trouble}".rstrip()
            shortage = shortage_outcome(self._shortage) if self._shortage is not None else None
            self._end(shortage or Outcome(FailureCode.JOIN_TIMEOUT, detail))
            return
        start.result()
        self._timing.ready(self._age_s())
        self._trace.ready(time.monotonic())
        await on_ready()
        self._limit_duration(exits)
        await self._ended

    async def _watch_descriptors(self) -> None:
        """LiveKit's library waits silently for sockets that it does not get."""
        while self._shortage is None:
            self._shortage = out_of_descriptors()
            await asyncio.sleep(CHECK_S)

    async def _start(self, exits: AsyncExitStack) -> None:
        """Everything up to the first picture in the room; `exits` undoes each step."""
        spec, resources = self._spec, self._resources
        persona = await resources.load_persona(spec)
        stream = resources.pool.open_stream(persona)
        exits.callback(stream.close)
        stream.on_fault = lambda detail: self._end(Outcome(FailureCode.ENGINE_ERROR, detail))
        live = spec.audio.source == "track"
        out = AvOut(resources.pool, stream, resources.output, live=live)
        exits.push_async_callback(out.aclose)
        self._timing = out.timing
        self._timing.present(False)
        out.accounts.on_turn = self._trace.turn
        self._background(exits, out.run())
        self._source = source = self._open_source(out, exits)
        exits.push_async_callback(source.aclose)
        exits.callback(self._forget_source)
        if resources.gateway is not None:
            admission = resources.gateway.admit(spec.livekit_url, public_only=spec.public_only)
            self._admission = exits.enter_context(admission)
        encryption = Encryption(
            spec.e2ee_key,
            spec.audio.participant,
            heard=lambda: out.timing.segments["started"] > 0,
            on_unsupported=lambda why: self._end(Outcome(FailureCode.E2EE_UNSUPPORTED, why)),
        )
        self.room = AvatarRoom(
            spec.livekit_url,
            spec.token,
            out.tracks,
            resources.joins,
            codec=resources.codec,
            pixels=persona.width * persona.height,
            on_joined=encryption.before(source.attach),
            encryption=encryption.options,
            on_presence=out.timing.present,
            renewable=not spec.external,
            alone_s=resources.alone_s,
            empty_s=spec.limits.participant_left_timeout_s,
        )
        exits.push_async_callback(self.room.leave)
        exits.push_async_callback(source.drain)
        await self._join(self.room)
        await out.next_picture()
        out.timing.first_frame(self._age_s())
        self._background(exits, self._stay(self.room))

    def _open_source(self, out: AvOut, exits: AsyncExitStack) -> SpeechSource:
        audio, on_absence = self._spec.audio, self._watch_absence(exits)
        if audio.source == "track":
            return Microphone(out, audio.participant, on_absence)
        if audio.agent is None:
            raise ValueError("data_stream needs the agent's identity")
        voice = AgentSpeech(out, audio.agent, on_absence)
        self._background(exits, voice.run())
        if not audio.barge_in:
            return voice
        return BargeIn(voice, audio.participant, audio.agent, self._resources.gate, out.timing)

    async def _join(self, room: AvatarRoom) -> None:
        """Join, retrying until the caller's time limit cancels it.

        Raises TokenRefused, since another token of ours would be refused alike.
        """
        while True:
            try:
                return await room.join()
            except TokenRefused:
                raise
            except JoinError as error:
                reported = self._admission.trouble if self._admission is not None else ""
                self._trouble = (
                    f"LiveKit could not be joined: {(reported or str(error)).rstrip('.')}."
                )
                log.info("join failed", error=str(error))
                await asyncio.sleep(REJOIN_PAUSE_S)

    async def _stay(self, room: AvatarRoom) -> None:
        try:
            self._end(Outcome(await room.stay()))
        except LiveKitLost as error:
            self._end(Outcome(FailureCode.LIVEKIT_LOST, str(error)))
        except TokenRefused as error:
            self._end(self._refused(error, FailureCode.LIVEKIT_LOST))

    def _refused(self, error: TokenRefused, code: FailureCode) -> Outcome:
        remedy = RENEW if self._spec.external else REKEY
        return Outcome(code, f"LiveKit refused the token ({error}). {remedy}")

    def _limit_duration(self, exits: AsyncExitStack) -> None:
        limit = self._spec.limits.max_duration_s
        if limit is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(limit, self.stop, EndReason.MAX_DURATION)
            exits.callback(timer.cancel)

    def _watch_absence(self, exits: AsyncExitStack) -> Callable[[bool], None]:
        """Returns a callback for when the followed participant leaves, and when it is back."""
        timer: asyncio.TimerHandle | None = None

        def forget() -> None:
            if timer is not None:
                timer.cancel()

        def changed(absent: bool) -> None:
            nonlocal timer
            forget()
            if absent:
                timeout_s = self._spec.limits.participant_left_timeout_s
                loop = asyncio.get_running_loop()
                timer = loop.call_later(timeout_s, self.stop, EndReason.PARTICIPANT_LEFT)

        exits.callback(forget)
        return changed

    def _background(self, exits: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the session until it ends; an error in it ends the session."""

        def finished(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                log.error("session failed", exc_info=task.exception())
                self._end(Outcome.of_fault())

        async def cancel() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = asyncio.create_task(work)
        task.add_done_callback(finished)
        exits.push_async_callback(cancel)

    def _age_s(self) -> float:
        return time.monotonic() - self._spec.requested_at

    def _end(self, outcome: Outcome) -> None:
        if not self._ended.done():
            self._timing.end(time.monotonic())
            self._ended.set_result(outcome)
