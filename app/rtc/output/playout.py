"""Which speech goes out on which tick. Pure: time comes in as an argument."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.rtc.output.clock import OutputClock
from engine import FPS, FRAME_S

BACKLOG_WINDOW = FPS  # ticks over which the shortest queue is watched before latency is cut


@dataclass(frozen=True, slots=True)
class Chunk:
    """A frame's own 40 ms of speech on its way out."""

    frame: int  # index in the engine's stream
    pcm: NDArray[np.int16]  # (1920,) mono 48 kHz
    silent: bool  # below the silence gate
    segment: int = 0  # of the ledger
    opens: bool = False  # a turn begins with it


class Playout:
    """A queue of speech laid onto the output clock.

    Speech that finds the queue empty starts `start_delay_s` later, so that its first picture can
    be painted in time; from then on every tick takes one chunk. When the queue runs dry, silence
    goes out and the next chunk starts anew. Ticks of queued chunks never change: frames behind a
    gap are not in the queue yet, so a pose that was chosen stays right.

    A `live` queue is fed in real time, by a microphone: speech that waits in it for no reason is
    latency, and silent chunks are left out to win it back. An utterance that comes faster than it
    is spoken waits for a good reason, and every sample of it is accounted for.
    """

    def __init__(
        self, clock: OutputClock, *, lead_s: float, start_delay_s: float, live: bool = True
    ) -> None:
        self._clock = clock
        self._lead_s = lead_s
        self._start_delay_s = start_delay_s
        self._live = live
        self._queue: deque[Chunk] = deque()
        self._start: int | None = None  # first tick of the queue's head, while it waits to start
        self._planned = 0  # chunks of the queue that `plan` has yielded already
        self._unplanned: deque[tuple[int, Chunk]] = deque()  # handed out before they could be
        self._playing = False
        self._shortest = 0  # queue length: the least since the watch began
        self._watched = 0  # ticks since the watch began
        self._surplus = 0  # silent chunks to leave out, to win back the latency of a late burst
        self.next_tick = 0  # the next tick whose audio is to be handed out
        self.trimmed = 0  # silent chunks left out to cut latency

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def loud(self) -> bool:
        """Anything but silence waits."""
        return any(not chunk.silent for chunk in self._queue)

    def add(self, chunk: Chunk, now: float) -> None:
        """Queue speech that has just arrived; a silent chunk may be left out to cut latency."""
        if chunk.silent and self._surplus > 0:
            self._surplus -= 1
            self.trimmed += 1
            return
        if not self._playing and self._start is None:
            self._start = self._first_tick(now)
        self._queue.append(chunk)

    def take(self) -> Chunk | None:
        """The speech of `next_tick` (None: silence); moves on by one tick."""
        tick, self.next_tick = self.next_tick, self.next_tick + 1
        if not self._playing and self._start is not None and tick >= self._start:
            self._playing, self._start = True, None
            self._shortest, self._watched = len(self._queue), 0
        if not self._playing:
            return None
        if not self._queue:
            self._playing = False
            return None
        chunk = self._queue.popleft()
        if self._planned == 0:
            # Its sound goes its way ahead of time; the picture may still wait for more sound.
            self._unplanned.append((tick, chunk))
        self._planned = max(0, self._planned - 1)
        self._watch_backlog()
        return chunk

    def plan(self, complete: int, urgent: float, until: float) -> Iterator[tuple[int, Chunk]]:
        """Ticks and chunks not yielded before, as far as they should be painted now.

        Args:
            complete: frames whose look-ahead the engine has; others wait until they are urgent.
            urgent: seconds; what is heard by then can't wait for its look-ahead any longer.
            until: seconds; nothing that is heard later is planned (the run-ahead cap).
        """

        def ripe(tick: int, chunk: Chunk) -> bool:
            heard = self._clock.time_of(tick)
            return heard <= until and (chunk.frame < complete or heard <= urgent)

        while self._unplanned and ripe(*self._unplanned[0]):
            yield self._unplanned.popleft()
        first = self.next_tick if self._playing else self._start
        if first is None or self._unplanned:
            return
        while self._planned < len(self._queue):
            tick, chunk = first + self._planned, self._queue[self._planned]
            if not ripe(tick, chunk):
                return
            self._planned += 1
            yield tick, chunk

    def overdue(self) -> Iterator[tuple[int, Chunk]]:
        """What was handed out and not planned, when silence follows: no more sound will come."""
        while self._unplanned:
            yield self._unplanned.popleft()

    def clear(self) -> None:
        """Forget all speech that has not gone out."""
        self._queue.clear()
        self._unplanned.clear()
        self._planned = 0
        self._start = None
        self._playing = False
        self._surplus = 0

    def _first_tick(self, now: float) -> int:
        earliest = now + max(self._start_delay_s, self._lead_s)
        # A microsecond less, or rounding makes a whole tick of it.
        ahead = math.ceil((earliest - self._clock.time_of(self.next_tick) - 1e-6) / FRAME_S)
        return self.next_tick + max(0, ahead)

    def _watch_backlog(self) -> None:
        """Once a second: what never left the queue in it is latency that a late burst left."""
        self._shortest = min(self._shortest, len(self._queue))
        self._watched += 1
        if self._watched >= BACKLOG_WINDOW:
            if self._live:
                self._surplus = max(0, self._shortest - self._needed())
            self._shortest, self._watched = len(self._queue), 0

    def _needed(self) -> int:
        # What waits between two hand-outs when speech arrives in real time: the start delay
        # less the lead, since a chunk is handed out `lead` before it is heard.
        return math.ceil(max(0.0, self._start_delay_s - self._lead_s) / FRAME_S)
