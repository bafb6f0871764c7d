"""The way of the agent's speech to its avatar, and of the avatar's reports to the agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import AudioOutput, _CaptureCancelledEvent

from .log import logger
from .output import SAMPLE_RATE

OVERDUE_S = 8.0  # an avatar so late with its report will not report any more
CLEAR_S = 3.0  # one that has not said by then that it falls silent is not there
REPORTS = ("lk.playback_finished", "lk.playback_started")

Handler = Callable[[rtc.RpcInvocationData], str]


class AvatarOutput(DataStreamAudioOutput):
    """Sends speech to the avatar while it is there; holds it back while it may yet come.

    The base class waits for an avatar without end, and the agent with it. Here the wait ends with
    `open`, or with `hand_over`, when the frame that waits goes to another sink.
    """

    def __init__(self, room: rtc.Room, identity: str) -> None:
        self._passable = asyncio.Event()
        self._heir: AudioOutput | None = None
        self._deaf = False
        self._began: float | None = None  # when the avatar began to play
        self._heard_until = 0.0  # when all that was sent should have been heard
        super().__init__(
            room,
            destination_identity=identity,
            sample_rate=SAMPLE_RATE,
            wait_playback_start=True,
        )

    async def ready(self) -> None:
        """Wait until the base class has found somebody of this identity.

        Raises RuntimeError if the agent's own connection ends before that.
        """
        if self._start_atask is not None:
            await asyncio.shield(self._start_atask)

    def open(self) -> None:
        """The avatar is there."""
        if not self._deaf:
            self._passable.set()

    def hold(self) -> None:
        """The avatar is away, and may be back."""
        if self._heir is None:
            self._passable.clear()

    def hand_over(self, heir: AudioOutput, *, deaf: bool) -> None:
        """The avatar is of no use any more: what still comes in here is the heir's.

        One that is not `deaf` can be told to fall silent.
        """
        self._heir, self._deaf = heir, self._deaf or deaf
        self._passable.set()
        self._room.off("connection_state_changed", self._handle_connection_state_changed)
        if self._start_atask is not None:
            self._start_atask.cancel()  # else it waits for ever for an avatar to come
        if self._deaf:
            self._unregister()

    async def aclose(self) -> None:
        """Hear no more of the avatar, once it has said that it falls silent if it was told so."""
        if self._clear_buffer_atask is not None:
            await asyncio.wait([self._clear_buffer_atask])
        self._unregister()

    @property
    def busy(self) -> bool:
        """Speech was taken of whose end nothing is known."""
        return self._pending_playback_count > 0

    @property
    def silent(self) -> bool:
        """The avatar does not say what it should: that it fell silent, or what was heard."""
        complete = self._pending_playback_count > 0 and self._stream_writer is None
        overdue = complete and time.monotonic() > self._heard_until + OVERDUE_S
        return self._deaf or overdue

    def clear_buffer(self) -> None:
        if not self._deaf:
            super().clear_buffer()
        while self._deaf and self._pending_playback_count:
            self.on_playback_finished(playback_position=self._heard(), interrupted=True)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        try:
            await self._way_is_free()
        except asyncio.CancelledError:
            self._cancelled()
            raise
        if self._heir is not None:
            await self._heir.capture_frame(frame)
            return
        begins = self._heard_until if self._pending_playback_count else 0.0
        self._heard_until = max(begins, time.monotonic()) + frame.duration
        await super().capture_frame(frame)

    async def _way_is_free(self) -> None:
        """Until the avatar is there and not falling silent, or there is an heir."""
        while True:
            await self._passable.wait()
            silencing = self._clear_buffer_atask
            if self._heir is not None or silencing is None or silencing.done():
                return
            await asyncio.shield(silencing)

    def _cancelled(self) -> None:
        """Whatever is above has counted a segment, of which nothing was sent: it ends, too, but
        not before the one that is being cleared."""
        silencing = self._clear_buffer_atask
        if silencing is not None and not silencing.done():
            task = asyncio.create_task(self._finish_cancelled_capture(silencing))
            self._clear_buffer_atask = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not self._pending_playback_count:
            self._dispatch_playback_finished(
                _CaptureCancelledEvent(playback_position=0, interrupted=True)
            )

    async def _clear_buffer_task(self, pushed_duration: float, captured_segments: int) -> None:
        """As the base class does it, whose call takes 7 s to fail; by then nobody listens."""
        heard = self._heard()
        try:
            async with asyncio.timeout(CLEAR_S):
                await self._room.local_participant.perform_rpc(
                    destination_identity=self._destination_identity,
                    method="lk.clear_buffer",
                    payload="",
                )
                await self.wait_for_playout()
        except Exception as error:  # whatever it is, nobody can be told to fall silent
            logger.warning("the avatar did not fall silent: %s", str(error) or "no word in time")
            if self._heir is None:
                self._deaf = True
                self._passable.clear()  # what comes now waits for the heir
            while self._pending_playback_count:
                self.on_playback_finished(playback_position=heard, interrupted=True)

    def _heard(self) -> float:
        """Seconds of what was sent that the avatar can have played."""
        if self._began is None:
            return 0.0
        return min(self._pushed_duration, time.monotonic() - self._began)

    def _handle_playback_started(self, data: rtc.RpcInvocationData) -> str:
        self._began = time.monotonic()
        return super()._handle_playback_started(data)

    def _handle_playback_finished(self, data: rtc.RpcInvocationData) -> str:
        self._began = None
        return super()._handle_playback_finished(data)

    # The base class keeps the handlers of all rooms in one table, by the avatar's identity: of
    # two rooms in a process, one would be told of the other's speech.

    def _register_playback_finished_rpc(  # type: ignore[override]
        self, room: rtc.Room, *, caller_identity: str, handler: Handler
    ) -> None:
        _reports(room, "lk.playback_finished")[caller_identity] = handler

    def _register_playback_started_rpc(  # type: ignore[override]
        self, room: rtc.Room, *, caller_identity: str, handler: Handler
    ) -> None:
        _reports(room, "lk.playback_started")[caller_identity] = handler

    def _unregister(self) -> None:
        if not self._room_connected_fut.done():
            return
        own = (self._handle_playback_finished, self._handle_playback_started)
        for method, handler in zip(REPORTS, own, strict=True):
            told = _reports(self._room, method)
            if told.get(self._destination_identity) == handler:
                del told[self._destination_identity]


class _Reports(dict[str, Handler]):
    """An RPC method of the agent in one room: by identity, who is told of an avatar's reports."""

    def __call__(self, data: rtc.RpcInvocationData) -> str:
        handler = self.get(data.caller_identity)
        return "reject" if handler is None else handler(data)


def _reports(room: rtc.Room, method: str) -> _Reports:
    agent = room.local_participant
    known = agent._rpc_handlers.get(method)
    if not isinstance(known, _Reports):
        known = _Reports()
        agent.register_rpc_method(method, known)
    return known
