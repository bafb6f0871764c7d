"""A stream's speech at 16 kHz, cut into the window of audio that each picture needs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from engine.core.types import SAMPLES_PER_FRAME, Pcm

SPARE = 4 * 16_000  # unused samples allowed at the front of a segment before the rest is moved up
FULL_SCALE = 32768.0


@dataclass(frozen=True, slots=True)
class Window:
    """The audio of one picture."""

    audio: Pcm  # (left_context + 640 + lookahead,) zeros outside the segment
    segment: int
    frame: int  # position in the segment
    unheard: int  # trailing samples of `audio` that are past the segment's end or not received yet
    rms: float  # of the picture's own 640 samples, 0 … 1


class _SpokenSegment:
    """Continuous speech; grows at the end and is discarded from the front."""

    def __init__(self, number: int, first: int) -> None:
        self.number = number
        self.first = first  # frame of the stream where it begins
        self.heard = 0  # samples
        self.ended = False
        self._forgotten = 0  # samples at the front that are no longer kept
        self._kept: Pcm = np.zeros(16_000, np.int16)

    @property
    def frames(self) -> int:
        """Number of frames in the segment; the last may be short once the segment has ended."""
        partial = SAMPLES_PER_FRAME - 1 if self.ended else 0
        return (self.heard + partial) // SAMPLES_PER_FRAME

    def push(self, pcm: Pcm) -> None:
        used = self.heard - self._forgotten
        if used + len(pcm) > len(self._kept):
            longer = np.zeros(2 * (used + len(pcm)), np.int16)
            longer[:used] = self._kept[:used]
            self._kept = longer
        self._kept[used : used + len(pcm)] = pcm
        self.heard += len(pcm)

    def read(self, begin: int, end: int) -> Pcm:
        """Samples `begin` to `end - 1` of the segment; zeros for those that it does not have."""
        out = np.zeros(end - begin, np.int16)
        low, high = max(begin, self._forgotten), min(end, self.heard)
        if low < high:
            kept = self._kept[low - self._forgotten : high - self._forgotten]
            out[low - begin : high - begin] = kept
        return out

    def forget(self, before: int) -> None:
        """Allows samples before `before` to be discarded; they are not read again."""
        if before - self._forgotten > SPARE:
            self._kept = self._kept[before - self._forgotten : self.heard - self._forgotten].copy()
            self._forgotten = before


class Speech:
    """The segments of a stream; frames are numbered consecutively across them.

    Args:
        left_context: samples of a window before the frame's own 640.
        lookahead: samples after them.
    """

    def __init__(self, left_context: int, lookahead: int) -> None:
        self._left = left_context
        self._right = lookahead
        self._segments: deque[_SpokenSegment] = deque()
        self._first = 0  # first frame of the next segment, when there is none
        self._begun = 0  # segments

    @property
    def frames(self) -> int:
        """Number of frames in the audio pushed so far, across segments."""
        if not self._segments:
            return self._first
        last = self._segments[-1]
        return last.first + last.frames

    @property
    def complete(self) -> int:
        """Number of frames whose window is complete, with its look-ahead or its segment's end."""
        if not self._segments or self._segments[-1].ended:
            return self.frames
        last = self._segments[-1]
        return last.first + max(0, (last.heard - self._right) // SAMPLES_PER_FRAME)

    def push(self, pcm: Pcm) -> None:
        """Appends audio to the open segment; opens one if there is none."""
        if not self._segments or self._segments[-1].ended:
            self._segments.append(_SpokenSegment(self._begun, self.frames))
            self._begun += 1
        self._segments[-1].push(pcm)

    def end_segment(self) -> None:
        if self._segments:
            self._segments[-1].ended = True

    def clear(self) -> None:
        """Discards everything; frame numbers continue."""
        self._first = self.frames
        self._segments.clear()

    def window(self, frame: int) -> Window:
        """The audio of a frame. Request frames in ascending order, each once."""
        while len(self._segments) > 1 and frame >= self._segments[1].first:
            self._segments.popleft()
        own = SAMPLES_PER_FRAME
        if not self._segments:
            silence = np.zeros(self._left + own + self._right, np.int16)
            return Window(silence, self._begun, 0, own + self._right, 0.0)
        segment = self._segments[0]
        place = frame - segment.first
        begin, end = place * own - self._left, (place + 1) * own + self._right
        audio = segment.read(begin, end)
        segment.forget(begin)
        unheard = min(len(audio), max(0, end - segment.heard))
        loudness = _rms(audio[self._left : self._left + own])
        return Window(audio, segment.number, place, unheard, loudness)


def _rms(pcm: Pcm) -> float:
    return float(np.sqrt(np.mean(np.square(pcm.astype(np.float32) / FULL_SCALE))))
