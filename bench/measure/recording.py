"""Sound and pictures with the moments at which they passed, in seconds of one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import soxr
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ANALYSIS_RATE = 16_000  # Hz: plenty for lips, and a third of the work of 48 kHz


@dataclass(frozen=True)
class TimedAudio:
    """Mono audio that passed in pieces; `times[i]` is when the first sample of piece i did."""

    pcm: Pcm  # (n,)
    rate: int  # Hz
    starts: Ints  # (pieces,) index of each piece's first sample; ascending, from 0
    times: Floats  # (pieces,) seconds, ascending

    @classmethod
    def of(cls, pieces: Sequence[tuple[float, Pcm]], rate: int) -> TimedAudio:
        """Join (time, samples) pieces."""
        lengths = [len(pcm) for _, pcm in pieces]
        return cls(
            pcm=np.concatenate([np.zeros(0, np.int16), *(pcm for _, pcm in pieces)]),
            rate=rate,
            starts=np.cumsum([0, *lengths])[:-1].astype(np.int64),
            times=np.maximum.accumulate(np.array([time for time, _ in pieces], np.float64)),
        )

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / self.rate

    def time_of(self, samples: Ints | Floats) -> Floats:
        """When these samples passed; fractions and samples before or after are extrapolated."""
        piece = np.clip(np.searchsorted(self.starts, samples, "right") - 1, 0, None)
        passed: Floats = self.times[piece] + (samples - self.starts[piece]) / self.rate
        return passed

    def sample_at(self, times: Floats) -> Floats:
        """Index of the sample that passed at these moments; nan before the first piece."""
        piece = np.searchsorted(self.times, times, "right") - 1
        known = np.clip(piece, 0, None)
        ends = np.append(self.starts[1:], len(self.pcm))
        inside = (times - self.times[known]) * self.rate
        found = np.minimum(self.starts[known] + inside, ends[known])
        return np.where(piece < 0, np.nan, found)

    def loudness(self, times: Floats, seconds: float = 0.04) -> Floats:
        """RMS (0..1) of the `seconds` that began to pass at each time; nan outside the audio."""
        length = round(seconds * self.rate)
        first = self.sample_at(times)
        valid = (first >= 0) & (first + length <= len(self.pcm))
        start = np.where(valid, first, 0).astype(np.int64)
        if len(self.pcm) < length:
            return np.full(len(times), np.nan)
        power = (self._energy[start + length] - self._energy[start]) / length
        return np.where(valid, np.sqrt(np.maximum(power, 0.0)), np.nan)

    @cached_property
    def _energy(self) -> Floats:
        scaled = self.pcm.astype(np.float64) / 32768
        return np.concatenate([[0.0], np.cumsum(np.square(scaled))])

    def at_analysis_rate(self) -> TimedAudio:
        """The same at 16 kHz. The filter is linear-phase and compensated: nothing moves."""
        if self.rate == ANALYSIS_RATE:
            return self
        pcm = soxr.resample(self.pcm, self.rate, ANALYSIS_RATE)
        starts = np.round(self.starts * (ANALYSIS_RATE / self.rate)).astype(np.int64)
        return TimedAudio(pcm, ANALYSIS_RATE, starts, self.times)


@dataclass(frozen=True)
class Seen:
    """Pictures as they arrived, each reduced to how far its mouth is open."""

    times: Floats  # (n,) seconds, ascending
    openings: Floats  # (n,) see bench/measure/mouth.py; 0 = shut

    def between(self, start: float, end: float) -> Seen:
        inside = (self.times >= start) & (self.times < end)
        return Seen(self.times[inside], self.openings[inside])
