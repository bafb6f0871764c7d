"""One session's life: persona, engine stream, room, and one way out."""

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
from app.rtc.company import ALONE_S
from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.input.barge_in import BargeIn
from app.rtc.input.encryption import Encryption
from app.rtc.input.microphone import Microphone
from app.rtc.input.speech_gate import USUAL, GateConfig
from app.rtc.output.av_out import AvOut, OutputConfig
from app.rtc.output.timing import Timing
from app.rtc.room import AvatarRoom, LiveKitLost
from app.rtc.sdk.refusal import JoinError, TokenRefused
from app.session_types import EndReason, FailureCode, Outcome, SessionSpec, shortage_outcome
from app.telemetry.tracing import NO_TRACING, Tracing
from engine import EngineError, EnginePool, Persona, ResourceShortage, out_of_descriptors

log = structlog.get_logger(__name__)

COLLECT_AFTER_S = 0.5  # by then nothing of an ended session is in use
REJOIN_PAUSE_S = 0.25  # between attempts to join at the start
LOOK_S = 0.25  # how often it is looked, during the join, whether there are descriptors left
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
    gateway: Gateway | None = None  # LiveKit's library reaches servers by it; None: by itself
    alone_s: float = ALONE_S  # that a room made anew may stay without people
    gate: GateConfig = USUAL  # what counts as a person's speech, for `barge_in`


class SpeechSource(Protocol):
    """Where a session's speech comes from: `Microphone`, or `AgentSpeech` (within `BargeIn`)."""

    def attach(self, room: rtc.Room) -> None: ...

    async def drain(self) -> None:
        """The session ends, and its room is still there, if it has not ended by itself."""
        ...

    async def aclose(self) -> None: ...

    def interrupt(self) -> None: ...


class RoomSession:
    """A `SessionRunner`: joins, speaks, leaves. However it ends, the same exits run."""

    def __init__(self, spec: SessionSpec, stage: SessionResources) -> None:
        self._spec = spec
        self._stage = stage
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._timing = Timing()
        self._trace = stage.tracing.session(spec)
        self._trouble = ""  # what LiveKit said last while joining failed
        self._shortage: ResourceShortage | None = None  # why joining failed, if that is ours
        self._admission: Admission | None = None
        self._ear: SpeechSource | None = None
        self.room: AvatarRoom | None = None

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> Outcome:
        """The whole life. Everything it opened is closed when it returns; it does not raise."""
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
        # A room refers to itself in many ways, and keeps some ten threads and sockets until it is
        # collected. What the process began with is frozen (stage.py), so this takes milliseconds.
        asyncio.get_running_loop().call_later(COLLECT_AFTER_S, gc.collect)
        outcome = self._ended.result()
        self._trace.end(time.monotonic(), outcome)
        log.info("session ended", reason=str(outcome.reason), detail=outcome.detail)
        return outcome

    def stop(self, reason: EndReason) -> None:
        """End for a reason from outside; the first one counts."""
        self._end(Outcome(reason))

    def interrupt(self) -> None:
        """Fall silent now: what has been said so far is not played on. One that ends does anyway,
        and what it speaks through may be closed by then."""
        if self._ear is not None and not self._ended.done():
            self._ear.interrupt()

    def _forget_ear(self) -> None:
        self._ear = None

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
            ours = shortage_outcome(self._shortage) if self._shortage is not None else None
            self._end(ours or Outcome(FailureCode.JOIN_TIMEOUT, detail))
            return
        start.result()
        self._timing.ready(self._age_s())
        self._trace.ready(time.monotonic())
        await on_ready()
        self._limit_duration(exits)
        await self._ended

    async def _watch_descriptors(self) -> None:
        """LiveKit's library waits for sockets that it does not get, and says nothing."""
        while self._shortage is None:
            self._shortage = out_of_descriptors()
            await asyncio.sleep(LOOK_S)

    async def _start(self, exits: AsyncExitStack) -> None:
        """Everything up to the first picture in the room; `exits` learns how to undo each step."""
        spec, stage = self._spec, self._stage
        persona = await stage.load_persona(spec)
        stream = stage.pool.open_stream(persona)
        exits.callback(stream.close)
        stream.on_fault = lambda detail: self._end(Outcome(FailureCode.ENGINE_ERROR, detail))
        live = spec.audio.source == "track"
        out = AvOut(stage.pool, stream, stage.output, live=live)
        exits.push_async_callback(out.aclose)
        self._timing = out.timing
        self._timing.present(False)
        out.accounts.on_turn = self._trace.turn
        self._background(exits, out.run())
        self._ear = ear = self._listen(out, exits)
        exits.push_async_callback(ear.aclose)
        exits.callback(self._forget_ear)
        if stage.gateway is not None:
            admission = stage.gateway.admit(spec.livekit_url, public_only=spec.public_only)
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
            stage.joins,
            codec=stage.codec,
            pixels=persona.width * persona.height,
            on_joined=encryption.before(ear.attach),
            encryption=encryption.options,
            on_presence=out.timing.present,
            renewable=not spec.external,
            alone_s=stage.alone_s,
            empty_s=spec.limits.participant_left_timeout_s,
        )
        exits.push_async_callback(self.room.leave)
        exits.push_async_callback(ear.drain)
        await self._join(self.room)
        await out.next_picture()
        out.timing.first_frame(self._age_s())
        self._background(exits, self._stay(self.room))

    def _listen(self, out: AvOut, exits: AsyncExitStack) -> SpeechSource:
        audio, on_absence = self._spec.audio, self._watch_absence(exits)
        if audio.source == "track":
            return Microphone(out, audio.participant, on_absence)
        if audio.agent is None:
            raise ValueError("data_stream needs the agent's identity")
        voice = AgentSpeech(out, audio.agent, on_absence)
        self._background(exits, voice.run())
        if not audio.barge_in:
            return voice
        return BargeIn(voice, audio.participant, audio.agent, self._stage.gate, out.timing)

    async def _join(self, room: AvatarRoom) -> None:
        """Join, again and again until the time for it is over (the caller's business).

        Raises TokenRefused: a new token of ours would be refused as this one was.
        """
        while True:
            try:
                return await room.join()
            except TokenRefused:
                raise
            except JoinError as error:
                hindered = self._admission.trouble if self._admission is not None else ""
                self._trouble = (
                    f"LiveKit could not be joined: {(hindered or str(error)).rstrip('.')}."
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
        """Tells what to do when the followed participant goes, and when it is back."""
        timer: asyncio.TimerHandle | None = None

        def forget() -> None:
            if timer is not None:
                timer.cancel()

        def changed(absent: bool) -> None:
            nonlocal timer
            forget()
            if absent:
                patience = self._spec.limits.participant_left_timeout_s
                loop = asyncio.get_running_loop()
                timer = loop.call_later(patience, self.stop, EndReason.PARTICIPANT_LEFT)

        exits.callback(forget)
        return changed

    def _background(self, exits: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the session until its end; a fault in it ends the session."""

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
