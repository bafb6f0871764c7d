"""When a turn of speech came in, was heard, and ended. Pure: time is an argument.

Each segment of an agent's speech is a turn. A microphone's speech is cut at its pauses: a turn
begins with the first sound after half a second of quiet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine import FRAME_S

PAUSE_TICKS = 13  # 520 ms of quiet end a turn of a microphone


@dataclass(slots=True)
class Turn:
    """Moments in seconds of time.monotonic(); None if that never happened."""

    segment: int
    began: float  # its first sound came in
    queued: bool = False  # earlier speech was still to be said then: its start tells nothing
    tick: int | None = None  # on which its first sound leaves
    leaves: float | None = None  # when that is
    started: float | None = None  # when its first sound left together with its own picture
    heard_until: float = 0.0  # end of its last sound that is not silent
    ended: float | None = None
    position_s: float = 0.0  # seconds heard
    interrupted: bool = False


class Turns:
    """Follows turns from the first sound in to the last one out; reports each start and end."""

    def __init__(
        self, *, live: bool, on_start: Callable[[float], None], on_end: Callable[[Turn], None]
    ) -> None:
        """`live`: a microphone. `on_start` gets seconds from first sound in to first out."""
        self._live = live
        self._on_start = on_start
        self._on_end = on_end
        self._waiting: deque[Turn] = deque()  # no sound of it has been handed out
        self._going: deque[Turn] = deque()  # handed out in part
        self._unseen: deque[Turn] = deque()  # handed out, without a picture of its own so far
        self._quiet_in = self._quiet_out = PAUSE_TICKS

    def came_in(self, segment: int, now: float, *, queued: bool = False) -> None:
        """The first sound of an agent's segment."""
        if not self._live:
            self._waiting.append(Turn(segment, now, queued))

    def opens(self, segment: int, now: float, *, silent: bool, first: bool) -> bool:
        """Whether 40 ms of speech that came in begin a turn; `first` of their segment."""
        if not self._live:
            return first
        began = not silent and self._quiet_in >= PAUSE_TICKS
        self._quiet_in = self._quiet_in + 1 if silent else 0
        if began:
            self._waiting.append(Turn(segment, now))
        return began

    def handed(self, tick: int, leaves: float, *, opens: bool, silent: bool) -> None:
        """A tick's sound is on its way and leaves at a moment; silence between speech counts."""
        if opens and self._waiting:
            turn = self._waiting.popleft()
            turn.tick, turn.leaves = tick, leaves
            self._end_live(turn.leaves)
            self._going.append(turn)
            self._unseen.append(turn)
        self._quiet_out = self._quiet_out + 1 if silent else 0
        if self._going and not silent:
            self._going[-1].heard_until = leaves + FRAME_S
        if self._quiet_out >= PAUSE_TICKS:
            self._end_live(leaves)

    def shown(self, tick: int, at: float) -> None:
        """A tick's own picture went out with the sound of a moment."""
        while self._unseen and (first := self._unseen[0].tick) is not None and first <= tick:
            turn = self._unseen.popleft()
            turn.started = at
            if not turn.queued:
                self._on_start(at - turn.began)

    def finished(self, segment: int, now: float, position_s: float, *, interrupted: bool) -> None:
        """An agent's segment ended, with so many seconds of it heard."""
        for turns in (self._going, self._waiting):
            for turn in [each for each in turns if not self._live and each.segment == segment]:
                turns.remove(turn)
                self._finish(turn, now, position_s, interrupted=interrupted)

    def cleared(self, now: float) -> None:
        """All speech was dropped: a turn that was not seen by now never started."""
        if self._live:
            for turn in (*self._going, *self._waiting):
                position = 0.0 if turn.leaves is None else max(0.0, now - turn.leaves)
                self._finish(turn, now, position, interrupted=True)
        self._going.clear()
        self._waiting.clear()
        self._unseen.clear()
        self._quiet_in = self._quiet_out = PAUSE_TICKS

    def _end_live(self, now: float) -> None:
        while self._live and self._going:
            turn = self._going.popleft()
            begun = now if turn.leaves is None else turn.leaves
            ended = turn.heard_until or now
            self._finish(turn, ended, ended - begun, interrupted=False)

    def _finish(self, turn: Turn, now: float, position_s: float, *, interrupted: bool) -> None:
        turn.ended, turn.position_s, turn.interrupted = now, position_s, interrupted
        self._on_end(turn)
