"""Tones to send, and what a subscriber heard of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.conformance.listener import RATE as HEARD_RATE

Pcm = NDArray[np.int16]
Floats = NDArray[np.float64]

PIECE_S = 0.01
WINDOW_S = 0.005  # of heard silence (contract.md, Definitions)
SILENT_DB = -40.0
STALE_DB = -20.0  # against the tone itself: what comes again is as loud as it was
PITCH_HZ = 120.0
FORMANTS_HZ = (700.0, 1100.0, 2600.0)
BREADTH_HZ = 150.0
CLOCK_S = 1.0  # window in which the least delayed piece gives the true clock


def tone(seconds: float, rate: int, channels: int = 1, hz: float = 440.0) -> Pcm:
    """(n * channels,) interleaved int16, -10 dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    mono = (np.sin(2 * np.pi * hz * time) * 10_000).astype(np.int16)
    return np.repeat(mono, channels)


def vowel(seconds: float, rate: int) -> Pcm:
    """(n,) int16 mono, an "ah" of a deep voice: what opens a mouth, where a pure tone may not."""
    pitch = np.arange(PITCH_HZ, min(FORMANTS_HZ[-1] + 1000, rate / 2), PITCH_HZ)
    loud = sum(np.exp(-np.square((pitch - formant) / BREADTH_HZ)) for formant in FORMANTS_HZ)
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * pitch[:, None] * time) * np.asarray(loud)[:, None]
    voice = wave.sum(axis=0)
    return np.asarray(voice / np.abs(voice).max() * 20_000, np.int16)


@dataclass(frozen=True)
class Heard:
    """What came out of a track, in windows of 5 ms."""

    times: Floats  # (n,) when each window began to be heard, monotonic seconds
    levels: Floats  # (n,) RMS, 0..1
    pcm: Pcm  # (n * 240,)

    @classmethod
    def of(cls, pieces: list[tuple[float, Pcm]]) -> Heard:
        """From 10 ms pieces with their arrivals, of which stalls of our own process are removed.

        Pieces leave the jitter buffer at a steady pace, so the least late piece around tells when
        its neighbours were played.
        """
        if not pieces:
            return cls(np.zeros(0), np.zeros(0), np.zeros(0, np.int16))
        arrivals = np.array([time for time, _ in pieces])
        steps = np.arange(len(pieces)) * PIECE_S
        late = arrivals - steps
        reach = round(CLOCK_S / 2 / PIECE_S)
        padded = np.pad(late, reach, mode="edge")
        base = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
        pcm = np.concatenate([pcm for _, pcm in pieces])
        size = round(HEARD_RATE * WINDOW_S)
        windows = pcm[: len(pcm) // size * size].reshape(-1, size).astype(np.float64) / 32768
        starts = np.repeat(base + steps, 2)
        starts[1::2] += WINDOW_S
        levels = np.sqrt(np.mean(np.square(windows), axis=1))
        return cls(starts[: len(levels)], levels, pcm)

    def between(self, start: float, end: float) -> Heard:
        inside = np.flatnonzero((self.times >= start) & (self.times < end))
        if not len(inside):
            return Heard(np.zeros(0), np.zeros(0), np.zeros(0, np.int16))
        first, last = int(inside[0]), int(inside[-1]) + 1
        size = round(HEARD_RATE * WINDOW_S)
        return Heard(
            self.times[first:last], self.levels[first:last], self.pcm[first * size : last * size]
        )

    def audible(self) -> tuple[float, float] | None:
        """Start of the first and end of the last window above -40 dB of the usual level here."""
        if not len(self.levels) or self.levels.max() < 1e-3:
            return None
        usual = float(np.percentile(self.levels[self.levels > self.levels.max() / 10], 50))
        loud = np.flatnonzero(self.levels > usual * 10 ** (SILENT_DB / 20))
        return float(self.times[loud[0]]), float(self.times[loud[-1]]) + WINDOW_S

    def seconds(self) -> float:
        """From first to last audible, counted in samples."""
        span = self.audible()
        if span is None:
            return 0.0
        inside = (self.times >= span[0] - 1e-9) & (self.times < span[1] - 1e-9)
        return float(np.count_nonzero(inside)) * WINDOW_S

    def strength(self, hz: float) -> Floats:
        """(n,) how much of this frequency is in each window, 0..1."""
        size = round(HEARD_RATE * WINDOW_S)
        windows = self.pcm.reshape(-1, size).astype(np.float64) / 32768
        wave = np.exp(-2j * np.pi * hz * np.arange(size) / HEARD_RATE)
        found: Floats = np.abs(windows @ wave) / size
        return found

    def pitch(self) -> float:
        """Hz of the strongest frequency; 0 in silence."""
        if not len(self.pcm) or not self.pcm.any():
            return 0.0
        spectrum = np.abs(np.fft.rfft(self.pcm * np.hanning(len(self.pcm)), 1 << 17))
        return float(np.argmax(spectrum)) * HEARD_RATE / (1 << 17)


@dataclass(frozen=True, slots=True)
class CutHeard:
    """Moments of what was heard: a tone that was cut off, and the next one, of another pitch."""

    began: float
    ended: float
    next_began: float
    stale: bool  # the first tone came again


def cut_heard(heard: Heard, first_hz: float, next_hz: float) -> CutHeard | None:
    """None unless both tones are there."""
    old, new = heard.strength(first_hz), heard.strength(next_hz)
    limit = max(old.max(initial=0.0) * 10 ** (SILENT_DB / 20), 1e-4)
    audible = heard.levels > limit
    following = _in_a_row(audible & (new > old) & (new > 0.03))
    if not len(following):
        return None
    first = _in_a_row(audible & (old > new))
    first = first[first < following[0]]
    if not len(first):
        return None
    # What rings on after a tone has no clear pitch, and may be taken for the first for a moment.
    again = _in_a_row((old > new) & (old > old.max() * 10 ** (STALE_DB / 20)))
    return CutHeard(
        began=float(heard.times[first[0]]),
        ended=float(heard.times[first[-1] + 1]) + WINDOW_S,
        next_began=float(heard.times[following[0]]),
        stale=bool((again > following[0] + 2).any()),
    )


def _in_a_row(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where two windows in a row are set: the first of them."""
    return np.flatnonzero(mask[:-1] & mask[1:])
