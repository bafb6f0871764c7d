"""Tells an agent what of its speech is heard: the two RPCs of livekit.md §1.2, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from asyncio import Queue

import structlog
from livekit import rtc

from app.rtc.output.playback_ledger import Finished, Started

log = structlog.get_logger(__name__)

STARTED = "lk.playback_started"
FINISHED = "lk.playback_finished"
RESPONSE_TIMEOUT_S = 5.0
# An agent that reconnects is away for a second or two. A lost `finished` would leave its `say()`
# waiting for ever; a late `started` is worth nothing.
PATIENCE_S = {STARTED: 0.5, FINISHED: 10.0}
RETRY_PAUSE_S = 0.1

_AWAY = frozenset(
    {
        rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND,
        rtc.RpcError.ErrorCode.RECIPIENT_DISCONNECTED,
        rtc.RpcError.ErrorCode.CONNECTION_TIMEOUT,
        rtc.RpcError.ErrorCode.SEND_FAILED,
    }
)
"""The call did not arrive; after any other error it may have, and one more would be one too many.

CONNECTION_TIMEOUT comes when nothing confirmed the arrival for 7 s: later than the patience with a
`started`, which so is never sent twice, and worth a second `finished`, without which an agent may
wait for ever."""


class PlaybackReporter:
    """A queue of events and the one task that delivers them, each exactly once if it can be."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._room: rtc.Room | None = None
        self._queue: Queue[tuple[float, Started | Finished]] = Queue()  # since when, what
        self._here = asyncio.Event()  # cleared while the agent is known to be away
        self._here.set()
        self._delivery: asyncio.Timeout | None = None  # of the event on its way
        self._wants_started = True  # until the agent answers that it has no such method

    def attach(self, room: rtc.Room) -> None:
        """Call from this room, just joined."""
        self._room = room
        self._wants_started = True

    def put(self, event: Started | Finished) -> None:
        self._queue.put_nowait((time.monotonic(), event))

    @property
    def pending(self) -> bool:
        """Something has not been told yet."""
        return self._delivery is not None or not self._queue.empty()

    def present(self, here: bool) -> None:
        """Whether the agent is there to be told. A call to one that is not takes 7 s to fail."""
        if here:
            self._here.set()
        else:
            self._here.clear()

    def forget(self) -> None:
        """Tell nothing of what was put so far: the process that waited for it is gone."""
        while not self._queue.empty():
            self._queue.get_nowait()
            self._queue.task_done()
        if self._delivery is not None:
            with contextlib.suppress(RuntimeError):  # it is being given up already
                self._delivery.reschedule(asyncio.get_running_loop().time())
        self._wants_started = True

    async def flush(self, patience_s: float) -> None:
        """Wait until all is delivered, while there is somebody to deliver it to."""
        if self._room is None or not self._room.isconnected() or not self._here.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._queue.join()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            since, event = await self._queue.get()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as self._delivery:
                    if isinstance(event, Finished):
                        await self._deliver(FINISHED, payload(event), since)
                    elif self._wants_started:
                        await self._deliver(STARTED, "", since)
            self._delivery = None
            self._queue.task_done()

    async def _deliver(self, method: str, body: str, since: float) -> None:
        # Counted from the event on: what has waited behind others is not worth more patience.
        give_up = since + PATIENCE_S[method]
        while True:
            if not await self._arrives(give_up):
                log.warning("the agent was not there to be told", method=method)
                return
            error = await self._call(method, body)
            if error is None:
                return
            if error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD and method == STARTED:
                self._wants_started = False
                return
            if error.code not in _AWAY or time.monotonic() > give_up:
                log.warning("the agent was not told", method=method, code=error.code)
                return
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _arrives(self, give_up: float) -> bool:
        """Wait until the agent is there, or until a moment."""
        if not self._here.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._here.wait(), give_up - time.monotonic())
        return self._here.is_set()

    async def _call(self, method: str, body: str) -> rtc.RpcError | None:
        if self._room is None:
            return rtc.RpcError(rtc.RpcError.ErrorCode.SEND_FAILED, "not in a room")
        try:
            answer = await self._room.local_participant.perform_rpc(
                destination_identity=self._agent,
                method=method,
                payload=body,
                response_timeout=RESPONSE_TIMEOUT_S,
            )
        except rtc.RpcError as error:
            return error
        if answer != "ok":
            log.warning("the agent rejected a call", method=method, answer=answer)
        return None


def payload(event: Finished) -> str:
    """Exactly these three keys: the agent makes keyword arguments of them (livekit.md §1.2)."""
    return json.dumps(
        {
            "playback_position": round(event.position_s, 4),
            "interrupted": event.interrupted,
            "synchronized_transcript": None,
        }
    )
