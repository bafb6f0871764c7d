"""What a mouth would do for a piece of sound: how open, how wide, how much of its teeth.

Each picture is judged from its own window alone, so the same sound gives the same face in any
batch. Smoothing is symmetrical around the middle of the picture: the mouth is not late.

Samples are worked on in arrays, the few numbers that are left of them one by one: an operation on
five numbers takes NumPy ten times as long as Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.core.types import SAMPLE_RATE, SAMPLES_PER_FRAME, Pcm

Floats = NDArray[np.floating]

LEFT_CONTEXT = 16_000  # a second: how loud this speaker is
LOOKAHEAD = 640  # as far beyond the picture as the smoothing looks

STEP = 320  # between the five short looks at a picture's sound: 40 ms before to 40 ms after it
LOOKS = np.array([1, 2, 3, 2, 1]) / 9  # their share in the jaw's place; it is heavy
RANGE_DB = 32.0  # below the speaker's loudest; there the mouth is closed
USUAL_DB = -20.0  # of full scale: a loud vowel of usual speech, where nothing is known yet
FULL_SCALE = 32768

# Edges in Hz: murmur, open vowels (first formant), their second, front vowels' second, hiss.
BANDS = (150, 450, 1000, 1800, 3600, 8000)
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the mouth in a picture."""

    opening: float  # 0 closed … 1 wide open
    width: float  # -1 round as in "oo" … 1 wide as in "ee"
    teeth: float  # 0 hidden … 1 shown, as in "s"


def shapes(windows: Sequence[Pcm]) -> list[Shape]:
    """Of windows (LEFT_CONTEXT + 640 + LOOKAHEAD,)."""
    sound = np.array(windows, np.float32)
    powers = _bands(sound)
    means = LOOKS @ powers
    each = zip(powers.tolist(), means.tolist(), _loudest(sound), strict=True)
    return [_shape(looks, mean, loudest) for looks, mean, loudest in each]


def _shape(looks: list[list[float]], mean: list[float], loudest: float) -> Shape:
    """Of a picture's powers, by look and band, and their mean over the looks, by band."""
    seen = [_look(bands, loudest) for bands in looks]
    jaw, presence, hiss = (LOOKS @ np.array(seen)).tolist()
    now = seen[len(LOOKS) // 2][0]
    # Lips are quick: they close in the dip of an m, b or p, which the jaw would sleep over.
    opening = jaw * _within(now / (0.5 * jaw + EPSILON), 0, 1)
    presence = _within(2 * presence, 0, 1)
    width = _width(mean) * presence
    teeth = max(hiss * presence, 0.7 * _within(width, 0, 1))
    return Shape(opening, width, teeth)


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _look(bands: Sequence[float], loudest: float) -> tuple[float, float, float]:
    """How open the mouth is for one look's powers, how loud it is, and how much of it is hiss."""
    murmur, first, second, front, high = bands
    voiced = murmur + first + second + front + EPSILON
    power = voiced + high
    loud = _within(1 + (10 * log10(power) - loudest) / RANGE_DB, 0, 1)
    open_vowel = _within((first + second) / voiced * 1.4, 0, 1)
    hiss = _within(high / power * 1.6 - 0.4, 0, 1)
    hum = _hum(murmur / voiced)
    opening = loud**1.5 * (0.35 + 0.65 * open_vowel) * (1 - 0.65 * hiss) * (1 - 0.75 * hum)
    return opening, loud, hiss


def _hum(low: float) -> float:
    """How much a sound is an m or n, from the share of the murmur: they have little else."""
    return _within(8 * (low - 0.8), 0, 1)


def _width(bands: Sequence[float]) -> float:
    """From the vowel's colour: a high second formant is wide, none above 1000 Hz is round."""
    voiced = sum(bands[:4]) + EPSILON
    low, second, front = (bands[band] / voiced for band in (0, 2, 3))
    dull = _within(1 - 5 * (second + front), 0, 1)
    deep = _within(3 * (low - 0.5), 0, 1) * _within(1 - 5 * front, 0, 1)
    round_ = (0.45 * dull + 0.9 * deep) * (1 - _hum(low))
    wide = _within(5 * (front - 0.07) - round_, -1, 1)
    return wide * voiced / (voiced + bands[4])


def _spectrum_weights() -> tuple[Floats, Floats]:
    """The looks' window, and (640, 5) which of a spectrum's squares belong to which band."""
    window = np.hanning(SAMPLES_PER_FRAME + 1)[:-1].astype(np.float32)
    bins = np.fft.rfftfreq(SAMPLES_PER_FRAME, 1 / SAMPLE_RATE)
    edges = pairwise(BANDS)
    member = np.stack([(low <= bins) & (bins < high) for low, high in edges], axis=1)
    # As cv2.dft packs them: real and imaginary part of each bin, but of the first and last one.
    squares = np.repeat(member.astype(np.float32), 2, axis=0)[1:-1]
    scale = 2 / (SAMPLES_PER_FRAME * float(np.square(window).sum()) * FULL_SCALE**2)
    return window, squares * np.float32(scale)


_WINDOW, _MEMBER = _spectrum_weights()


def _bands(sound: Floats) -> Floats:
    """(n, 5 looks, 5 bands) power, of which a sine of full scale has 0.5."""
    last = sound.shape[1] - SAMPLES_PER_FRAME
    starts = range(last - (len(LOOKS) - 1) * STEP, last + 1, STEP)
    looks = np.stack([sound[:, at : at + SAMPLES_PER_FRAME] for at in starts], axis=1)
    looks *= _WINDOW
    spectrum = cv2.dft(looks.reshape(-1, SAMPLES_PER_FRAME), flags=cv2.DFT_ROWS)
    power: Floats = np.square(spectrum) @ _MEMBER
    return power.reshape(len(sound), len(LOOKS), -1)


def _loudest(sound: Floats) -> list[float]:
    """dB of the loudest 40 ms in the last second, drawn half-way to what is usual."""
    whole = sound.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    blocks = sound[:, -whole:].reshape(len(sound), -1, SAMPLES_PER_FRAME)
    energies = np.einsum("nks,nks->nk", blocks, blocks).max(axis=1).tolist()
    return [_usual(energy / (SAMPLES_PER_FRAME * FULL_SCALE**2)) for energy in energies]


def _usual(power: float) -> float:
    peak = 10 * log10(power + EPSILON)
    return (max(peak, -45) + USUAL_DB) / 2
