"""How much of each segment has been heard. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from engine import FRAME_S


@dataclass(frozen=True, slots=True)
class Started:
    """The first sample of a segment is heard."""

    segment: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more of a segment will be heard; `position_s` of it were."""

    segment: int
    position_s: float
    interrupted: bool


@dataclass(slots=True)
class _Segment:
    number: int
    pushed_s: float = 0.0  # audio that has come in
    handed_s: float = 0.0  # audio on its way out, heard or about to be
    heard_from: float | None = None
    # When each piece that may not have been heard to its end begins to be, and its length.
    coming: deque[tuple[float, float]] = field(default_factory=deque)
    ended: bool = False  # no more will come in
    lost: bool = False  # its end never came: what came in is heard, and told as interrupted
    started: bool = False

    def hand(self, at: float) -> None:
        if self.heard_from is None:
            self.heard_from = at
        # The last piece is padded with silence, which is not part of the segment.
        seconds = min(FRAME_S, max(0.0, self.pushed_s - self.handed_s))
        self.coming.append((at, seconds))
        self.handed_s += seconds

    def pass_by(self, now: float) -> None:
        """Forget pieces that were heard to their end."""
        while self.coming and sum(self.coming[0]) <= now:
            self.coming.popleft()

    def position(self, now: float) -> float:
        """Seconds heard at a moment: all handed out, less what of each piece is still to come.

        Piece by piece: a hold-up leaves a pause between two of them, which nobody has heard.
        """
        rest = (min(seconds, max(0.0, at + seconds - now)) for at, seconds in self.coming)
        return max(0.0, self.handed_s - sum(rest))


class Ledger:
    """One `Started` (if anything is heard) and exactly one `Finished` a segment, in order."""

    def __init__(self) -> None:
        self._segments: deque[_Segment] = deque()
        self._count = 0

    @property
    def open(self) -> int:
        """Segments whose end has not been told."""
        return len(self._segments)

    def begin(self) -> int:
        """A segment opens; its number."""
        self._count += 1
        self._segments.append(_Segment(self._count))
        return self._count

    def pushed(self, seconds: float) -> None:
        """Audio of the newest segment came in."""
        self._segments[-1].pushed_s += seconds

    def end(self, *, lost: bool = False) -> None:
        """The newest segment is complete, or its end is `lost`: nothing more of it comes in."""
        self._segments[-1].ended = True
        self._segments[-1].lost = lost

    def waiting_s(self) -> float:
        """Seconds of audio that came in and have not gone out yet."""
        return sum(segment.pushed_s - segment.handed_s for segment in self._segments)

    def handed(self, number: int, at: float) -> None:
        """A 40-ms piece of a segment goes out and begins to be heard at a moment."""
        segment = next((s for s in self._segments if s.number == number), None)
        if segment is not None:
            segment.hand(at)

    def due(self, now: float) -> list[Started | Finished]:
        """What has happened by now, each event once."""
        events: list[Started | Finished] = []
        while self._segments:
            segment = self._segments[0]
            if segment.heard_from is not None and segment.heard_from <= now and not segment.started:
                segment.started = True
                events.append(Started(segment.number))
            segment.pass_by(now)
            complete = segment.ended and segment.handed_s >= segment.pushed_s - 1e-9
            if not complete or segment.coming:
                break
            self._segments.popleft()
            events.append(Finished(segment.number, segment.handed_s, interrupted=segment.lost))
        return events

    def interrupt(self, now: float) -> list[Started | Finished]:
        """Everything that hasn't been heard to its end is cut off now."""
        events = self.due(now)
        for segment in self._segments:
            events.append(Finished(segment.number, segment.position(now), interrupted=True))
        self._segments.clear()
        return events
