"""Finds the sound that was sent in the sound that was heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.measure.recording import ANALYSIS_RATE, Floats, Ints, Pcm, TimedAudio

WINDOW_S = 0.32  # long enough to be unlike its neighbours, short enough to see a jump
HOP_S = 0.08
AUDIBLE = 0.01  # RMS of full scale; what is quieter has nothing to be recognised by
ALIKE = 0.6  # normalised correlation from which two sounds are the same, codec in between


@dataclass(frozen=True)
class Alignment:
    """For windows of the sent audio: where they were found in what was heard."""

    sent: TimedAudio  # 16 kHz
    heard: TimedAudio  # 16 kHz
    positions: Ints  # (w,) first sample of the window, in sent
    found: Floats  # (w,) the same sound, in heard
    likeness: Floats  # (w,) normalised correlation there, up to 1

    @property
    def sure(self) -> Alignment:
        """Only the windows that were recognised."""
        keep = self.likeness >= ALIKE
        return Alignment(
            self.sent, self.heard, self.positions[keep], self.found[keep], self.likeness[keep]
        )

    @property
    def latencies(self) -> Floats:
        """(w,) seconds from the sound's sending to its hearing."""
        sent_at = self.sent.time_of(self.positions)
        return self.heard.time_of(self.found) - sent_at

    def sent_position(self, times: Floats) -> Floats:
        """Which sample of the sent audio was heard at these moments; nan where none was."""
        heard = self.heard.sample_at(times)
        middle = WINDOW_S * ANALYSIS_RATE / 2
        if not len(self.found):
            return np.full(len(times), np.nan)
        knots, values = self.found + middle, self.positions + middle
        inside = np.interp(heard, knots, values)
        # Outside the recognised windows time goes on as at the nearest one.
        inside = np.where(heard < knots[0], values[0] + heard - knots[0], inside)
        mapped: Floats = np.where(heard > knots[-1], values[-1] + heard - knots[-1], inside)
        return mapped


def align(sent: TimedAudio, heard: TimedAudio, *, longest_s: float = 2.0) -> Alignment:
    """Look for every audible window of `sent` in `heard`, up to `longest_s` after it was sent.

    Two passes: the first finds the usual latency, the second looks only near it, where a
    repeated vowel cannot be mistaken for its twin.
    """
    sent, heard = sent.at_analysis_rate(), heard.at_analysis_rate()
    coarse = _search(sent, heard, 0.0, longest_s).sure
    if not len(coarse.positions):
        return coarse
    usual = float(np.median(coarse.latencies))
    return _search(sent, heard, usual - 0.25, usual + 0.45)


def _search(sent: TimedAudio, heard: TimedAudio, least_s: float, most_s: float) -> Alignment:
    length = round(WINDOW_S * ANALYSIS_RATE)
    voice = sent.pcm.astype(np.float64) / 32768
    room = heard.pcm.astype(np.float64) / 32768
    rows: list[tuple[int, float, float]] = []
    for position in range(0, len(voice) - length + 1, round(HOP_S * ANALYSIS_RATE)):
        window = voice[position : position + length]
        if np.sqrt(np.mean(np.square(window))) < AUDIBLE:
            continue
        sent_at = sent.time_of(np.array([position]))[0]
        edges = heard.sample_at(np.array([sent_at + least_s, sent_at + most_s]))
        first = 0 if np.isnan(edges[0]) else int(edges[0])
        last = 0 if np.isnan(edges[1]) else int(edges[1]) + length
        found, likeness = _best_match(window, room[first:last])
        rows.append((position, first + found, likeness))
    table = np.array(rows, np.float64).reshape(-1, 3)
    return Alignment(sent, heard, table[:, 0].astype(np.int64), table[:, 1], table[:, 2])


def _best_match(window: Floats, region: Floats) -> tuple[float, float]:
    """Where in the region the window fits best, to a fraction of a sample, and how well."""
    if len(region) < len(window):
        return 0.0, 0.0
    size = 1 << (len(region) + len(window) - 1).bit_length()
    spectrum = np.fft.rfft(region, size) * np.conj(np.fft.rfft(window, size))
    products = np.fft.irfft(spectrum, size)[: len(region) - len(window) + 1]
    energy = np.concatenate([[0.0], np.cumsum(np.square(region))])
    power = energy[len(window) :] - energy[: -len(window)]
    alike = products / np.sqrt(np.maximum(power, 1e-9) * float(np.sum(np.square(window))))
    best = int(np.argmax(alike))
    return best + _vertex(alike, best), float(alike[best])


def _vertex(values: Floats, at: int) -> float:
    """Offset of the parabola's top through three neighbours, within half a step."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, top, right = values[at - 1 : at + 2]
    bend = left - 2 * top + right
    return float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0


@dataclass(frozen=True, slots=True)
class Continuity:
    """How much of the speech was heard, and in time."""

    missing: int  # audible 40 ms pieces of the sent audio that were not heard
    pieces: int  # audible 40 ms pieces in all
    latest_s: float  # the largest latency less the median: how late the latest was


def continuity(alignment: Alignment) -> Continuity:
    """Compare each audible 40 ms of the sent audio with what was heard in its place."""
    known = alignment.sure
    length = round(0.04 * ANALYSIS_RATE)
    voice = known.sent.pcm[: len(known.sent.pcm) // length * length].reshape(-1, length)
    audible = np.sqrt(np.mean(np.square(voice / 32768.0), axis=1)) >= AUDIBLE
    positions = np.flatnonzero(audible) * length
    if not len(known.positions):
        return Continuity(len(positions), len(positions), float("inf"))
    # Each piece's place: that of the nearest recognised window, give or take 12 ms of stretching
    # by the receiver's jitter buffer.
    middle = round(WINDOW_S * ANALYSIS_RATE / 2)
    nearest = np.abs(known.positions[None, :] + middle - positions[:, None]).argmin(axis=1)
    shift = known.found[nearest] - known.positions[nearest]
    missing = sum(
        not _heard_near(known.heard.pcm, known.sent.pcm[at : at + length], at + move)
        for at, move in zip(positions, shift, strict=True)
    )
    latencies = known.latencies
    return Continuity(missing, len(positions), float(latencies.max() - np.median(latencies)))


def _heard_near(heard: Pcm, piece: Pcm, expected: float, slack_s: float = 0.012) -> bool:
    slack = round(slack_s * ANALYSIS_RATE)
    first = max(0, round(expected) - slack)
    region = heard[first : round(expected) + len(piece) + slack]
    if len(region) < len(piece):
        return False
    likeness = _best_match(piece / 32768.0, region / 32768.0)[1]
    return likeness >= ALIKE / 2  # 40 ms alone: a codec may bend so little a lot
