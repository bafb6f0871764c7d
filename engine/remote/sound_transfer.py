"""Sends a stream's audio to another process, each sample once.

A job's window covers five seconds or more and overlaps almost entirely with the next one. Only
samples that the other side does not have are sent; the receiver rebuilds the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.types import SAMPLES_PER_FRAME, Pcm

SILENCE: Pcm = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Piece:
    """The samples that travel with a job."""

    at: int  # position of `pcm` in the segment, in samples
    pcm: Pcm


@dataclass(slots=True)
class _Known:
    """The part of a segment that the receiver has."""

    name: tuple[int, int] = (-1, -1)  # generation, segment
    end: int = 0


class SoundSender:
    """The sending side of one stream; it has the whole windows."""

    def __init__(self, left_context: int) -> None:
        self._left = left_context
        self._known = _Known()

    def cut(self, name: tuple[int, int], frame: int, window: Pcm, unheard: int) -> Piece:
        """The part of a window that the receiver does not have.

        Args:
            name: generation and segment.
            frame: position of the picture in its segment.
            window: (left_context + 640 + lookahead,) zeros where no audio exists or is known yet.
            unheard: trailing samples that are not known yet.
        """
        begin = SAMPLES_PER_FRAME * frame - self._left
        first, end = max(0, begin), max(0, begin + len(window) - unheard)
        if self._known.name != name or self._known.end < first:
            self._known = _Known(name, first)
        at = self._known.end
        if end <= at:
            return Piece(at, SILENCE)
        self._known.end = end
        return Piece(at, window[at - begin : end - begin])


class SoundReceiver:
    """The receiving side of one stream."""

    def __init__(self, left_context: int, lookahead: int) -> None:
        self._left = left_context
        self._length = left_context + SAMPLES_PER_FRAME + lookahead
        self._name = (-1, -1)
        self._first = 0  # position of `_kept` in the segment, in samples
        self._kept: Pcm = SILENCE

    def window(self, name: tuple[int, int], frame: int, piece: Piece) -> Pcm:
        """Rebuilds the window that the piece was cut from."""
        begin = SAMPLES_PER_FRAME * frame - self._left
        if name != self._name or piece.at != self._first + len(self._kept):
            self._name, self._first, self._kept = name, piece.at, SILENCE
        skipped = min(max(0, begin - self._first), len(self._kept))
        self._kept = np.concatenate([self._kept[skipped:], piece.pcm])
        self._first += skipped
        window = np.zeros(self._length, np.int16)
        low, high = (
            max(begin, self._first),
            min(begin + self._length, self._first + len(self._kept)),
        )
        if low < high:
            window[low - begin : high - begin] = self._kept[low - self._first : high - self._first]
        return window
