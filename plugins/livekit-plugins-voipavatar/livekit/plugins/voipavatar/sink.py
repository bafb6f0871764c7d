"""Sends the agent's speech to its avatar, and receives the avatar's playback reports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import AudioOutput, _CaptureCancelledEvent

from .log import logger
from .output import SAMPLE_RATE

OVERDUE_S = 8.0  # a report this late will not arrive any more
CLEAR_S = 3.0  # an avatar that has not confirmed a clear by then is gone
REPORTS = ("lk.playback_finished", "lk.playback_started")

Handler = Callable[[rtc.RpcInvocationData], str]


class AvatarOutput(DataStreamAudioOutput):
    """Sends speech to the avatar while it is there; holds it back while it may still come.

    The base class would wait for an avatar forever, and the agent with it. Here the wait ends with
    `open`, or with `hand_over`, after which the waiting frame goes to another sink.
    """

    def __init__(self, room: rtc.Room, identity: str) -> None:
        self._passable = asyncio.Event()
        self._successor: AudioOutput | None = None
        self._deaf = False
        self._began: float | None = None  # when the avatar began to play
        self._played_by = 0.0  # when everything sent should have been played
        super().__init__(
            room,
            destination_identity=identity,
            sample_rate=SAMPLE_RATE,
            wait_playback_start=True,
        )

    async def ready(self) -> None:
        """Wait until the base class has found a participant of this identity.

        Raises RuntimeError if the agent's own connection ends first.
        """
        if self._start_atask is not None:
            await asyncio.shield(self._start_atask)

    def open(self) -> None:
        """The avatar is there."""
        if not self._deaf:
            self._passable.set()

    def hold(self) -> None:
        """The avatar is away and may come back."""
        if self._successor is None:
            self._passable.clear()

    def hand_over(self, successor: AudioOutput, *, deaf: bool) -> None:
        """The avatar is no longer usable: forward later speech to `successor`.

        The avatar is told to stop unless it is `deaf`.
        """
        self._successor, self._deaf = successor, self._deaf or deaf
        self._passable.set()
        self._room.off("connection_state_changed", self._handle_connection_state_changed)
        if self._start_atask is not None:
            self._start_atask.cancel()  # it would wait for an avatar forever
        if self._deaf:
            self._unregister()

    async def aclose(self) -> None:
        """Stop listening to the avatar, after a pending clear has been confirmed."""
        if self._clear_buffer_atask is not None:
            await asyncio.wait([self._clear_buffer_atask])
        self._unregister()

    @property
    def busy(self) -> bool:
        """Speech was sent whose end has not been reported."""
        return self._pending_playback_count > 0

    @property
    def silent(self) -> bool:
        """The avatar fails to report a clear or its playback."""
        complete = self._pending_playback_count > 0 and self._stream_writer is None
        overdue = complete and time.monotonic() > self._played_by + OVERDUE_S
        return self._deaf or overdue

    def clear_buffer(self) -> None:
        if not self._deaf:
            super().clear_buffer()
        while self._deaf and self._pending_playback_count:
            self.on_playback_finished(playback_position=self._played(), interrupted=True)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        try:
            await self._until_passable()
        except asyncio.CancelledError:
            self._cancelled()
            raise
        if self._successor is not None:
            await self._successor.capture_frame(frame)
            return
        begins = self._played_by if self._pending_playback_count else 0.0
        self._played_by = max(begins, time.monotonic()) + frame.duration
        await super().capture_frame(frame)

    async def _until_passable(self) -> None:
        """Wait until the avatar is there and no clear is pending, or there is a successor."""
        while True:
            await self._passable.wait()
            silencing = self._clear_buffer_atask
            if self._successor is not None or silencing is None or silencing.done():
                return
            await asyncio.shield(silencing)

    def _cancelled(self) -> None:
        """The layer above has counted a segment of which nothing was sent: end it as well, but
        after the one that is being cleared."""
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
        """Like the base class's, whose call takes 7 s to fail; by then nobody listens."""
        played = self._played()
        try:
            async with asyncio.timeout(CLEAR_S):
                await self._room.local_participant.perform_rpc(
                    destination_identity=self._destination_identity,
                    method="lk.clear_buffer",
                    payload="",
                )
                await self.wait_for_playout()
        except Exception as error:  # whatever it is, the avatar does not react
            logger.warning("the avatar did not stop: %s", str(error) or "no answer in time")
            if self._successor is None:
                self._deaf = True
                self._passable.clear()  # later speech waits for the successor
            while self._pending_playback_count:
                self.on_playback_finished(playback_position=played, interrupted=True)

    def _played(self) -> float:
        """Seconds of the sent speech that the avatar can have played."""
        if self._began is None:
            return 0.0
        return min(self._pushed_duration, time.monotonic() - self._began)

    def _handle_playback_started(self, data: rtc.RpcInvocationData) -> str:
        self._began = time.monotonic()
        return super()._handle_playback_started(data)

    def _handle_playback_finished(self, data: rtc.RpcInvocationData) -> str:
        self._began = None
        return super()._handle_playback_finished(data)

    # The base class keeps the handlers of all rooms in one table, by the avatar's identity, so of
    # two rooms in a process, one would receive the other's reports.

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
            handlers = _reports(self._room, method)
            if handlers.get(self._destination_identity) == handler:
                del handlers[self._destination_identity]


class _Reports(dict[str, Handler]):
    """One of the agent's RPC methods in one room: handlers by the avatar's identity."""

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
