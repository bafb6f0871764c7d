"""An avatar's sound on its way into LiveKit, and the library's events at the price of an event.

LiveKit's library calls Python on threads of its own, for each piece of sound that it has taken and
for each that it brings: fifty times a second and session. Its Python package adds to each call
what costs more than the call (measured: docs/benchmarks.md, "Where a session's time goes"):

- CPython gives a thread that it doesn't know a state of its own, and takes it back when the call
  returns. That maps and unmaps memory, for which all cores of the process are interrupted. Here
  such a thread keeps its state.
- Each piece of sound that was taken is told to every room of the process, and to a queue that was
  made for it. Here only who handed it over is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np
from livekit import rtc

from app.rtc.output.speech_in import Pcm
from app.rtc.sdk import livekit_private
from app.rtc.sdk.livekit_private import FfiEvent, FfiRequest

Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class DirectAudioSource(rtc.AudioSource):
    """An audio source of mono sound, as LiveKit's, but that `capture` tells nobody else."""

    async def capture(self, pcm: Pcm) -> None:
        """Hand over (n,) int16 mono; returns when the source has taken it.

        Raises RuntimeError where LiveKit does not take it.
        """
        if not len(pcm):
            return
        samples = np.ascontiguousarray(pcm)  # copied before the request returns
        request = livekit_private.capture_request(self, samples.ctypes.data, len(samples))
        if request is not None:
            await _events().taken(request)


class _Events:
    """Stands before the queue through which LiveKit's package hands its events to event loops."""

    def __init__(self) -> None:
        queue = livekit_private.event_queue()
        self._pass_on = queue.put
        self._known = threading.local()
        self._lock = threading.Lock()
        self._waiting: dict[int, Waiter] = {}  # by the number of a request
        # While a request is made its number is not known yet, and the answer may be there before:
        self._asking = 0
        self._early: dict[int, FfiEvent] = {}
        queue.put = self._put

    async def taken(self, request: FfiRequest) -> None:
        """Make a request to take sound, and wait until it has been done."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._asking += 1
        number: int | None = None
        try:
            response = livekit_private.request(request)
            number = response.capture_audio_frame.async_id
        finally:
            early, of_others = self._asked(number, (loop, done))
            for event in of_others:
                self._pass_on(event)
        if early is not None:
            _settle(done, early)
        await done

    def _asked(self, number: int | None, waiter: Waiter) -> tuple[FfiEvent | None, list[FfiEvent]]:
        """The answer if it is there already; and others' that were held back meanwhile."""
        with self._lock:
            self._asking -= 1
            early = None if number is None else self._early.pop(number, None)
            if number is not None and early is None:
                self._waiting[number] = waiter
            of_others: list[FfiEvent] = []
            if not self._asking:
                of_others = list(self._early.values())
                self._early.clear()
            return early, of_others

    def _put(self, event: FfiEvent) -> None:
        """On a thread of LiveKit's."""
        if not hasattr(self._known, "stays"):
            # One more than is released when the call returns.
            ctypes.pythonapi.PyGILState_Ensure()
            self._known.stays = True
        if not event.HasField("capture_audio_frame"):
            self._pass_on(event)
            return
        number = event.capture_audio_frame.async_id
        with self._lock:
            waiter = self._waiting.pop(number, None)
            held_back = waiter is None and self._asking > 0
            if held_back:
                self._early[number] = event
        if waiter is not None:
            loop, done = waiter
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_settle, done, event)
        elif not held_back:
            self._pass_on(event)  # of a plain source of LiveKit's


@cache
def _events() -> _Events:
    """LiveKit's package has one queue a process."""
    return _Events()


def _settle(done: asyncio.Future[Any], event: FfiEvent) -> None:
    if done.done():  # cancelled: nobody waits any more
        return
    error = event.capture_audio_frame.error
    if error:
        done.set_exception(RuntimeError(f"LiveKit did not take a piece of sound: {error}"))
    else:
        done.set_result(None)
