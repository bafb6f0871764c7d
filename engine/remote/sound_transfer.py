"""A stream's sound on its way to another process: each sample travels once.

A job's window is five seconds and more, its successor's nearly the same: only what the other side
does not have is sent, and the window is put together again there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.types import SAMPLES_PER_FRAME, Pcm

SILENCE: Pcm = np.zeros(0, np.int16)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a job brings along."""

    at: int  # sample of the segment at which `pcm` begins
    pcm: Pcm


@dataclass(slots=True)
class _Known:
    """What the other side has of a segment."""

    name: tuple[int, int] = (-1, -1)  # generation, segment
    end: int = 0


class SoundSender:
    """One stream's, at the end that knows the whole windows."""

    def __init__(self, left_context: int) -> None:
        self._left = left_context
        self._known = _Known()

    def cut(self, name: tuple[int, int], frame: int, window: Pcm, unheard: int) -> Piece:
        """What of a window is news.

        Args:
            name: generation and segment.
            frame: place of the picture in its segment.
            window: (left_context + 640 + lookahead,) zeros where nothing is, or is known yet.
            unheard: samples at its end that are not known yet.
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
    """The same stream's, at the end that gets the pieces."""

    def __init__(self, left_context: int, lookahead: int) -> None:
        self._left = left_context
        self._length = left_context + SAMPLES_PER_FRAME + lookahead
        self._name = (-1, -1)
        self._first = 0  # sample of the segment that `_kept` begins with
        self._kept: Pcm = SILENCE

    def window(self, name: tuple[int, int], frame: int, piece: Piece) -> Pcm:
        """The window that the piece was cut from."""
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
