"""What becomes of a session's speech: reported, timed and counted.

Pure: time is an argument, seconds of time.monotonic(). `AvOut` records here what it does.
"""

from __future__ import annotations

from collections.abc import Callable

from app.rtc.output.playback_ledger import Finished, Ledger, Started
from app.rtc.output.playout import Chunk
from app.rtc.output.speech_in import Pcm
from app.rtc.output.timing import Timing
from app.telemetry.turns import Turn, Turns
from engine import FRAME_S


class Accounts:
    """The ledger of segments, the turns of speech, and the session's timing, kept in step."""

    def __init__(self, *, live: bool, on_playback: Callable[[Started | Finished], None]) -> None:
        """`live`: speech comes from a microphone."""
        self.timing = Timing()
        self.on_turn: Callable[[Turn], None] = lambda _: None
        self._on_playback = on_playback
        self._ledger = Ledger()
        self._turns = Turns(
            live=live, on_start=self.timing.turn_started, on_end=lambda turn: self.on_turn(turn)
        )
        self._segment = 0
        self._silent_so_far = True  # no sound of the newest segment has come in
        self._opening = False  # the next piece of speech is the first of its segment
        self._loud_until = 0.0  # end of the last sound handed out that is not silence
        self._asked: list[float] = []  # for silence, until nothing is left to be sent

    @property
    def open(self) -> int:
        """Segments whose end has not been reported."""
        return self._ledger.open

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that came in and have not gone out yet."""
        return self._ledger.waiting_s()

    def begin(self) -> int:
        """A segment opens; its number."""
        self._segment, self._silent_so_far = self._ledger.begin(), True
        return self._segment

    def came_in(self, now: float) -> None:
        """Sound of the newest segment has arrived."""
        if self._silent_so_far:
            self._silent_so_far, self._opening = False, True
            self._turns.came_in(self._segment, now, queued=self._ledger.open > 1)

    def pushed(self, seconds: float) -> None:
        """Record more of the newest segment, to be played."""
        self._ledger.pushed(seconds)

    def end(self, *, lost: bool) -> None:
        """The newest segment is complete, or its end is `lost`."""
        self._ledger.end(lost=lost)

    def chunk(self, frame: int, pcm: Pcm, now: float, *, silent: bool) -> Chunk:
        """The next 40 ms of the newest segment, labelled."""
        opens = self._turns.opens(self._segment, now, silent=silent, first=self._opening)
        self._opening = False
        return Chunk(frame, pcm, silent, self._segment, opens)

    def handed(self, tick: int, chunk: Chunk | None, leaves: float) -> None:
        """A tick's sound (None: silence) is on its way and begins to leave at a moment."""
        silent = chunk is None or chunk.silent
        if chunk is not None and self.timing.ended is None:
            self._ledger.handed(chunk.segment, leaves)
        if not silent:
            self._loud_until = leaves + FRAME_S
        opens = chunk is not None and chunk.opens
        self._turns.handed(tick, leaves, opens=opens, silent=silent)

    def ran_dry(self, since: float, now: float) -> None:
        """Nothing was there to be sent; it counts where sound, not silence, went before."""
        if 0.0 < since <= self._loud_until:
            self.timing.sound_gap(now - since)

    def due(self, now: float) -> None:
        """Report what has happened by now; nothing that is heard after the session's end."""
        if self.timing.ended is None:
            self._tell(self._ledger.due(now), now)

    def cleared(self, now: float, *, waiting: bool) -> None:
        """All speech was dropped on request; `waiting`: some that is not silent was to come."""
        if self.timing.ended is None and (waiting or self._loud_until > now):
            self._asked.append(now)
        self._loud_until = 0.0
        # A session that leaves its room is still heard for a moment, which nobody counts.
        now = now if self.timing.ended is None else min(now, self.timing.ended)
        self._tell(self._ledger.interrupt(now), now)
        self._turns.cleared(now)

    def silenced(self, now: float) -> None:
        """Nothing of the speech dropped before is left to be sent."""
        for asked in self._asked:
            self.timing.interrupted(now - asked)
        self._asked.clear()

    def close(self, now: float) -> None:
        """The session is over: what was still being said ended with it, interrupted."""
        self.cleared(now, waiting=False)
        self._asked.clear()

    def shown(self, tick: int, now: float, due: float, trim_s: float, *, fresh: bool) -> None:
        """A picture was captured, `trim_s` later than its sound left if it was on time."""
        self.timing.shown(now, due, fresh=fresh)
        if fresh:
            self._turns.shown(tick, now - trim_s)

    def _tell(self, events: list[Started | Finished], now: float) -> None:
        for event in events:
            self.timing.played(event)
            if isinstance(event, Finished):
                self._turns.finished(
                    event.segment, now, event.position_s, interrupted=event.interrupted
                )
            self._on_playback(event)
