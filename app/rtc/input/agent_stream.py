"""Plays the speech that a LiveKit Agents agent sends: the avatar's side of livekit.md §1.

Each session has its own receiver, with no shared table: rooms whose agents have the same identity
never mix (§1.5, flaw 3).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
import structlog
from livekit import rtc

from app.rtc.input.agent_process import AgentProcess
from app.rtc.input.byte_streams import ByteStream, ByteStreams
from app.rtc.input.incoming import Backlog, IncomingStream, TooMuch
from app.rtc.input.rejections import Rejections
from app.rtc.output.playback_ledger import Finished, Started
from app.rtc.output.playback_reporter import PlaybackReporter
from app.rtc.output.speech_in import Pcm

log = structlog.get_logger(__name__)

AUDIO_TOPIC = "lk.audio_stream"
CLEAR = "lk.clear_buffer"
LOST_TRAILER_S = 10.0  # an open stream counts as ended after this long without a byte (§1.2)
SUPERSEDED_S = 0.25  # the same once a newer stream has begun: time for bytes under way
LONGEST_S = 600.0  # contract.md, Media: limit of one segment, and of speech waiting behind it
DRAIN_S = 1.0  # for the last reports of an ending session
ABSENCE_S = 5.0  # a reconnecting agent is back by then; after this the avatar stops speaking
NO_FORM = (48_000, 1)  # of a refused segment
ROOM_PAUSE_S = 0.1  # between checks of the queue of speech

# Reasons after which a process does not come back. A process that reconnects leaves without a
# reason and returns under another sid.
FOR_GOOD = frozenset(
    {rtc.DisconnectReason.CLIENT_INITIATED, rtc.DisconnectReason.PARTICIPANT_REMOVED}
)


class Output(Protocol):
    """Plays the speech; implemented by `AvOut`."""

    on_playback: Callable[[Started | Finished], None]

    @property
    def speaking(self) -> bool: ...

    @property
    def waiting_s(self) -> float: ...

    def begin_segment(self, rate: int, channels: int) -> int: ...

    def push(self, pcm: Pcm) -> None: ...

    def end_segment(self, *, lost: bool = False) -> None: ...

    def clear(self) -> None: ...


class AgentSpeech:
    """Reads an agent's byte streams in order, and obeys its `lk.clear_buffer`."""

    def __init__(self, out: Output, agent: str, on_absence: Callable[[bool], None]) -> None:
        self._out = out
        self._agent = agent
        self._on_absence = on_absence
        self._reporter = PlaybackReporter(agent)
        out.on_playback = self._reporter.put
        self._room: rtc.Room | None = None
        self._streams: ByteStreams | None = None
        self._rejections = Rejections()
        self._backlog = Backlog()
        self._waiting: deque[IncomingStream] = deque()
        self._arrived = asyncio.Event()
        self._current: IncomingStream | None = None
        self._timeout: asyncio.Timeout | None = None  # of the current stream
        self._present: bool | None = None  # None: not checked yet
        self._process = AgentProcess()
        self._absence: asyncio.TimerHandle | None = None  # ends speech if the agent stays away

    def attach(self, room: rtc.Room) -> None:
        """Listen in a room just joined, before the tracks are published: an agent that waits for
        the video speaks as soon as it arrives."""
        self._release_room()
        self._room = room
        self._reporter.attach(room)
        self._streams = ByteStreams(room, AUDIO_TOPIC, self._on_stream)
        self._rejections.attach(room)
        # Agents send these to everybody; without a handler each logs a line (§2.7).
        room.register_byte_stream_handler("lk.agent.session", lambda reader, _: reader.close())
        room.register_text_stream_handler("lk.transcription", lambda reader, _: reader.close())
        room.local_participant.register_rpc_method(CLEAR, self._on_clear)
        room.on("participant_connected", lambda who: self._on_connected(room, who))
        room.on("participant_disconnected", lambda who: self._on_disconnected(room, who))
        # An agent that reconnected before the avatar causes no event of its own.
        room.on("reconnected", lambda: self._check_presence(room))
        self._check_presence(room)

    async def run(self) -> None:
        """Read and report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_all())
            tasks.create_task(self._reporter.run())

    async def drain(self) -> None:
        """Report how far the agent's speech was played; without it, `say()` would wait forever."""
        self.interrupt()
        await self._reporter.flush(DRAIN_S)

    async def aclose(self) -> None:
        """Call this after leaving the room."""
        self._release_room()
        self._cancel_absence()
        if self._current is not None:
            self._current.close()
        self._refuse_waiting()

    def _release_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            # A registered method keeps the room, its tracks and their threads in LiveKit's library
            # forever (livekit 1.2.1; docs/lab/memory.md, "What a long-lived process keeps").
            room.local_participant.unregister_rpc_method(CLEAR)
        if self._streams is not None:
            self._streams.break_off("the room was left")
        self._rejections.close()

    @property
    def speaking(self) -> bool:
        """Speech is playing or has begun to arrive."""
        return self._out.speaking or bool(self._waiting)

    def interrupt(self) -> None:
        """Stop speaking now and discard what open streams still bring."""
        if self._current is not None:
            self._current.close()
            self._current = None
        self._out.clear()
        self._refuse_waiting()  # last, because these come after the speech being played

    def _on_stream(self, stream: ByteStream, sender: str) -> None:
        if sender != self._agent:
            stream.close()
            self._rejections.reject(sender)
            return
        self._note_process()
        self._waiting.append(IncomingStream(stream, self._backlog, LONGEST_S))
        self._arrived.set()
        if self._timeout is not None and self._timeout.when() is not None:
            # A new header supersedes the open stream once its last bytes are in.
            with contextlib.suppress(RuntimeError):  # it ended in this very loop iteration
                self._timeout.reschedule(asyncio.get_running_loop().time() + SUPERSEDED_S)

    async def _on_clear(self, call: rtc.RpcInvocationData) -> str:
        if call.caller_identity != self._agent:
            self._rejections.reject(call.caller_identity)
            return "reject"
        self._set_present(True)
        # An agent only clears what it said before: this is the same process, even if reconnected.
        self._process.same(self._sid())
        self.interrupt()
        return "ok"

    def _refuse_waiting(self) -> None:
        """Report unplayed streams as finished: each segment gets exactly one report."""
        while self._waiting:
            self._waiting.popleft().close()
            self._reporter.put(Finished(0, 0.0, interrupted=True))

    async def _read_all(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._waiting:
                self._arrived.clear()
                continue
            stream = self._current = self._waiting.popleft()
            form = stream.form
            if form is None:
                log.warning("refused audio of unknown form", attributes=stream.attributes)
                self._current = None
                self._out.begin_segment(*NO_FORM)  # reported in its turn
                self._out.end_segment(lost=True)
                continue
            self._out.begin_segment(*form)
            complete = await self._read(stream, *form)
            if self._current is stream:  # otherwise it was cleared and reported as interrupted
                self._current = None
                stream.close()
                self._out.end_segment(lost=not complete)

    async def _read(self, stream: IncomingStream, rate: int, channels: int) -> bool:
        """Play a stream as it arrives. False if it had no proper end."""
        step = 2 * channels
        rest = b""
        received_s = 0.0
        while True:
            try:
                data = rest + await self._next(stream)
            except StopAsyncIteration:
                return True
            except TooMuch as error:
                log.warning("refused a segment", reason=str(error))
                return False
            except (TimeoutError, rtc.StreamError) as error:
                log.warning("a segment lost its end", error=str(error) or "no more bytes")
                return False
            if self._current is not stream:
                return False
            whole = len(data) // step * step
            rest = data[whole:]
            received_s += whole / step / rate
            if received_s > LONGEST_S:
                log.warning("a segment is too long", limit_s=LONGEST_S)
                self.interrupt()
                return False
            await self._room_for_more()
            if self._current is not stream:
                return False
            self._out.push(np.frombuffer(data[:whole], "<i2"))

    async def _next(self, stream: IncomingStream) -> bytes:
        # A stream that arrived whole would otherwise never yield to the output's clock.
        await asyncio.sleep(0)
        wait = SUPERSEDED_S if self._waiting else LOST_TRAILER_S
        try:
            async with asyncio.timeout(wait) as self._timeout:
                return await anext(stream)
        finally:
            self._timeout = None

    async def _room_for_more(self) -> None:
        """Wait for the queue of segments to shrink before more of them is taken."""
        while self._out.waiting_s > LONGEST_S:  # noqa: ASYNC110  # a clock has no event
            await asyncio.sleep(ROOM_PAUSE_S)

    def _check_presence(self, room: rtc.Room) -> None:
        if room is self._room:
            self._set_present(self._agent in room.remote_participants)

    def _on_connected(self, room: rtc.Room, who: rtc.RemoteParticipant) -> None:
        if room is self._room and who.identity == self._agent:
            self._process.announced(who.sid)
            self._set_present(True)

    def _on_disconnected(self, room: rtc.Room, who: rtc.RemoteParticipant) -> None:
        if room is not self._room or who.identity != self._agent:
            return
        if who.disconnect_reason in FOR_GOOD:
            self._forget_process()
        self._set_present(False)

    def _note_process(self) -> None:
        """The agent begins to speak; drop earlier speech if it came from another process."""
        self._set_present(True)
        unfinished = self.speaking or self._reporter.pending
        if self._process.heard(self._sid(), unfinished=unfinished):
            self._forget_process()
            self._process.same(self._sid())

    def _sid(self) -> str | None:
        """The sid of the agent's present connection."""
        who = self._room.remote_participants.get(self._agent) if self._room is not None else None
        return who.sid if who is not None else None

    def _forget_process(self) -> None:
        """The agent's process is gone: drop its speech and its reports."""
        log.info("the agent's process is gone, its speech is dropped")
        self._process.forget()
        self.interrupt()
        self._reporter.forget()

    def _set_present(self, present: bool) -> None:
        """The agent joined or left; before its first join it counts as gone (docs/api.md, States).

        LiveKit announces participants up to 3 s late, so speech counts as presence, too.
        """
        if present == self._present:
            return
        first, self._present = self._present is None, present
        self._reporter.present(present)
        self._cancel_absence()
        if not present:
            loop = asyncio.get_running_loop()
            self._absence = loop.call_later(ABSENCE_S, self.interrupt)
        if not (first and present):
            self._on_absence(not present)

    def _cancel_absence(self) -> None:
        if self._absence is not None:
            self._absence.cancel()
            self._absence = None
