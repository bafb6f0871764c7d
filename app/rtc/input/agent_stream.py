"""Plays what a LiveKit Agents agent sends: the avatar's side of livekit.md §1.

One receiver a session, with no table shared between sessions: two rooms whose agents have the same
identity never meet (§1.5, flaw 3).
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
LOST_TRAILER_S = 10.0  # without a byte, an open stream counts as ended (§1.2)
SUPERSEDED_S = 0.25  # the same once a newer stream has begun: time for what is on its way
LONGEST_S = 600.0  # contract.md, Media: more in one segment, or waiting behind that, is refused
FAREWELL_S = 1.0  # for the last reports of a session that ends
ABSENCE_S = 5.0  # an agent that reconnects is back by then; after that the avatar stops speaking
NO_FORM = (48_000, 1)  # of a segment that is refused
ROOM_PAUSE_S = 0.1  # between looks whether what waits to be said has become less

# What a process of the agent that left will not come back from. One whose connection is made anew
# leaves without a reason, and is the same under another sid.
FOR_GOOD = frozenset(
    {rtc.DisconnectReason.CLIENT_INITIATED, rtc.DisconnectReason.PARTICIPANT_REMOVED}
)


class Output(Protocol):
    """What plays the speech: `AvOut`."""

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
    """Reads an agent's byte streams one after another, and obeys its `lk.clear_buffer`."""

    def __init__(self, out: Output, agent: str, on_absence: Callable[[bool], None]) -> None:
        self._out = out
        self._agent = agent
        self._on_absence = on_absence
        self._notices = PlaybackReporter(agent)
        out.on_playback = self._notices.put
        self._room: rtc.Room | None = None
        self._streams: ByteStreams | None = None
        self._rejections = Rejections()
        self._backlog = Backlog()
        self._waiting: deque[IncomingStream] = deque()
        self._arrived = asyncio.Event()
        self._current: IncomingStream | None = None
        self._patience: asyncio.Timeout | None = None  # with the current stream
        self._present: bool | None = None  # None: not looked yet
        self._speaker = AgentProcess()
        self._silence: asyncio.TimerHandle | None = None  # falls silent if the agent stays away

    def attach(self, room: rtc.Room) -> None:
        """Listen in a room just joined, before the tracks are published: an agent that waits for
        the video speaks as soon as it sees it."""
        self._release_room()
        self._room = room
        self._notices.attach(room)
        self._streams = ByteStreams(room, AUDIO_TOPIC, self._on_stream)
        self._rejections.attach(room)
        # Agents send these to everybody; without a handler each makes a line in the log (§2.7).
        room.register_byte_stream_handler("lk.agent.session", lambda reader, _: reader.close())
        room.register_text_stream_handler("lk.transcription", lambda reader, _: reader.close())
        room.local_participant.register_rpc_method(CLEAR, self._on_clear)
        room.on("participant_connected", lambda who: self._on_connected(room, who))
        room.on("participant_disconnected", lambda who: self._on_disconnected(room, who))
        # Who is back before us, when the connection was made anew, makes no event of its own.
        room.on("reconnected", lambda: self._look_around(room))
        self._look_around(room)

    async def run(self) -> None:
        """Read and report until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_all())
            tasks.create_task(self._notices.run())

    async def drain(self) -> None:
        """Tell the agent how far its speech was heard, or its `say()` would wait for ever."""
        self.interrupt()
        await self._notices.flush(FAREWELL_S)

    async def aclose(self) -> None:
        """Call after the room was left."""
        self._release_room()
        self._forget_silence()
        if self._current is not None:
            self._current.close()
        self._refuse_waiting()

    def _release_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            # A method left registered keeps the room and its tracks, and a thread of each, in
            # LiveKit's library for ever: measured with livekit 1.2.1, docs/agents.md.
            room.local_participant.unregister_rpc_method(CLEAR)
        if self._streams is not None:
            self._streams.break_off("the room was left")
        self._rejections.close()

    @property
    def speaking(self) -> bool:
        """Speech is being heard, or has begun to come in."""
        return self._out.speaking or bool(self._waiting)

    def interrupt(self) -> None:
        """Fall silent now; of streams that are open, nothing more is played."""
        if self._current is not None:
            self._current.close()
            self._current = None
        self._out.clear()
        self._refuse_waiting()  # after it, since they come after what was being heard

    def _on_stream(self, stream: ByteStream, sender: str) -> None:
        if sender != self._agent:
            stream.close()
            self._rejections.reject(sender)
            return
        self._note_speaker()
        self._waiting.append(IncomingStream(stream, self._backlog, LONGEST_S))
        self._arrived.set()
        if self._patience is not None and self._patience.when() is not None:
            # A new header supersedes the open stream, once its last bytes are in.
            with contextlib.suppress(RuntimeError):  # it has come to an end in this very turn
                self._patience.reschedule(asyncio.get_running_loop().time() + SUPERSEDED_S)

    async def _on_clear(self, call: rtc.RpcInvocationData) -> str:
        if call.caller_identity != self._agent:
            self._rejections.reject(call.caller_identity)
            return "reject"
        self._set_present(True)
        # It has spoken before, or would have nothing to clear: the same process, however connected.
        self._speaker.same(self._sid())
        self.interrupt()
        return "ok"

    def _refuse_waiting(self) -> None:
        """Finish the streams that nothing was played of: one `finished` a segment, always."""
        while self._waiting:
            self._waiting.popleft().close()
            self._notices.put(Finished(0, 0.0, interrupted=True))

    async def _read_all(self) -> None:
        while True:
            await self._arrived.wait()
            if not self._waiting:
                self._arrived.clear()
                continue
            stream = self._current = self._waiting.popleft()
            form = stream.form
            if form is None:
                log.warning("audio of unknown form refused", attributes=stream.attributes)
                self._current = None
                self._out.begin_segment(*NO_FORM)  # told of in its turn
                self._out.end_segment(lost=True)
                continue
            self._out.begin_segment(*form)
            complete = await self._read(stream, *form)
            if self._current is stream:  # else it was cleared, and told as interrupted
                self._current = None
                stream.close()
                self._out.end_segment(lost=not complete)

    async def _read(self, stream: IncomingStream, rate: int, channels: int) -> bool:
        """Play a stream as it comes. False when its proper end never came."""
        step = 2 * channels
        rest = b""
        received_s = 0.0
        while True:
            try:
                data = rest + await self._next(stream)
            except StopAsyncIteration:
                return True
            except TooMuch as error:
                log.warning("a segment is refused", reason=str(error))
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
        # Reading a stream that came whole would never give way to the output's clock.
        await asyncio.sleep(0)
        wait = SUPERSEDED_S if self._waiting else LOST_TRAILER_S
        try:
            async with asyncio.timeout(wait) as self._patience:
                return await anext(stream)
        finally:
            self._patience = None

    async def _room_for_more(self) -> None:
        """Segments that wait behind one another are taken in as they can be said."""
        while self._out.waiting_s > LONGEST_S:  # noqa: ASYNC110  # a clock makes no event
            await asyncio.sleep(ROOM_PAUSE_S)

    def _look_around(self, room: rtc.Room) -> None:
        if room is self._room:
            self._set_present(self._agent in room.remote_participants)

    def _on_connected(self, room: rtc.Room, who: rtc.RemoteParticipant) -> None:
        if room is self._room and who.identity == self._agent:
            self._speaker.announced(who.sid)
            self._set_present(True)

    def _on_disconnected(self, room: rtc.Room, who: rtc.RemoteParticipant) -> None:
        if room is not self._room or who.identity != self._agent:
            return
        if who.disconnect_reason in FOR_GOOD:
            self._forget_process()
        self._set_present(False)

    def _note_speaker(self) -> None:
        """The agent begins to speak: is it still the process that we have heard before?"""
        self._set_present(True)
        if self._speaker.heard(self._sid(), untold=self.speaking or self._notices.pending):
            self._forget_process()
            self._speaker.same(self._sid())

    def _sid(self) -> str | None:
        """The agent's, of its present connection."""
        who = self._room.remote_participants.get(self._agent) if self._room is not None else None
        return who.sid if who is not None else None

    def _forget_process(self) -> None:
        """The agent's process is gone: nothing of it is played, and nobody is told of it."""
        log.info("the agent's process is gone, its speech is dropped")
        self._speaker.forget()
        self.interrupt()
        self._notices.forget()

    def _set_present(self, present: bool) -> None:
        """The agent came or went. One that has not come yet counts as gone: contract.md, Sessions.

        LiveKit tells of a new participant up to 3 s late, so its speech counts, too.
        """
        if present == self._present:
            return
        first, self._present = self._present is None, present
        self._notices.present(present)
        self._forget_silence()
        if not present:
            loop = asyncio.get_running_loop()
            self._silence = loop.call_later(ABSENCE_S, self.interrupt)
        if not (first and present):
            self._on_absence(not present)

    def _forget_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
