"""When a turn was first heard, and when an interrupted one fell silent.

The definitions are in contract.md, Definitions. Pure: arrivals in, moments out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.measure.recording import Floats, Pcm

WINDOW_S = 0.005
SILENT = 10 ** (-40 / 20)  # of the level before
STEADY_S = 1.0  # pieces are played evenly: the least late one in this window gives the true clock
UNHEARD = 1e-3  # RMS of full scale: below, there was no sound at all


@dataclass(frozen=True)
class Loudness:
    """What came out of a track, in windows of 5 ms."""

    times: Floats  # (n,) when each began to be heard, seconds
    levels: Floats  # (n,) RMS, 0..1

    @classmethod
    def of(cls, arrivals: Sequence[float], levels: Sequence[Floats]) -> Loudness:
        """From pieces of equal length, each with the levels of its windows.

        `arrivals`: when each piece's first sample was there. Hold-ups of the process that stamped
        them are taken out: the least late piece around says when its neighbours were played.
        """
        if not arrivals:
            return cls(np.zeros(0), np.zeros(0))
        windows = len(levels[0])
        length = windows * WINDOW_S
        steps = np.arange(len(arrivals)) * length
        late = np.asarray(arrivals, np.float64) - steps
        reach = max(1, round(STEADY_S / 2 / length))
        padded = np.pad(late, reach, mode="edge")
        base = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
        starts = (base + steps)[:, None] + np.arange(windows) * WINDOW_S
        return cls(starts.reshape(-1), np.concatenate(levels))

    def first_heard(self, after: float, until: float) -> float | None:
        """When the first audible window between two moments began; None if none did."""
        inside = (self.times >= after) & (self.times < until)
        usual = _usual(self.levels[inside])
        loud = np.flatnonzero(inside & (self.levels > usual * SILENT))
        return float(self.times[loud[0]]) if usual >= UNHEARD and len(loud) else None

    def last_heard(self, asked: float, within_s: float = 0.5) -> float | None:
        """When it fell silent: the end of the last audible window after `asked`.

        Audible is measured against the second before. None when nothing was heard then; inf when
        it went on beyond `within_s`.
        """
        before = (self.times >= asked - 1.0) & (self.times < asked)
        usual = _usual(self.levels[before])
        if usual < UNHEARD:
            return None
        after = (self.times >= asked) & (self.times < asked + within_s)
        loud = np.flatnonzero(after & (self.levels > usual * SILENT))
        if not len(loud):
            return asked
        end = float(self.times[loud[-1]]) + WINDOW_S
        return float("inf") if end >= asked + within_s - WINDOW_S else end


def levels_of(pcm: Pcm, rate: int) -> Floats:
    """(n,) RMS of whole windows of 5 ms."""
    size = round(rate * WINDOW_S)
    windows = pcm[: len(pcm) // size * size].reshape(-1, size).astype(np.float64) / 32768
    found: Floats = np.sqrt(np.mean(np.square(windows), axis=1))
    return found


def _usual(levels: Floats) -> float:
    """The level of what is not silence."""
    if not len(levels) or levels.max() < UNHEARD:
        return 0.0
    return float(np.median(levels[levels > levels.max() / 10]))
