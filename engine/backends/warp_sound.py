"""What a mouth would do for a piece of sound: how open, how wide, how much of its teeth.

Each picture is judged from its own window alone, so the same sound gives the same face in any
batch. Smoothing is symmetrical around the middle of the picture: the mouth is not late.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

Floats = NDArray[np.floating]

LEFT_CONTEXT = 16_000  # a second: how loud this speaker is
LOOKAHEAD = 640  # as far beyond the picture as the smoothing looks

STEP = 320  # between the five short looks at a picture's sound: 40 ms before to 40 ms after it
LOOKS = np.array([1, 2, 3, 2, 1]) / 9  # their share in the jaw's place; it is heavy
RANGE_DB = 32.0  # below the speaker's loudest; there the mouth is closed
USUAL_DB = -20.0  # of full scale: a loud vowel of usual speech, where nothing is known yet

# Edges in Hz: murmur, open vowels (first formant), their second, front vowels' second, hiss.
BANDS = (150, 450, 1000, 1800, 3600, 8000)
EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of a batch of pictures."""

    opening: Floats  # (n,) 0 closed … 1 wide open
    width: Floats  # (n,) -1 round as in "oo" … 1 wide as in "ee"
    teeth: Floats  # (n,) 0 hidden … 1 shown, as in "s"


def shapes(windows: NDArray[np.int16]) -> Shapes:
    """Of windows (n, LEFT_CONTEXT + 640 + LOOKAHEAD)."""
    sound = windows.astype(np.float32) / np.float32(32768)
    bands = _bands(sound)
    power = bands.sum(axis=2) + EPSILON
    level = 10 * np.log10(power)
    loud = np.clip(1 + (level - _loudest(sound)[:, None]) / RANGE_DB, 0, 1)
    voiced = bands[..., :4].sum(axis=2) + EPSILON
    open_vowel = np.clip((bands[..., 1] + bands[..., 2]) / voiced * 1.4, 0, 1)
    hiss = np.clip(bands[..., 4] / power * 1.6 - 0.4, 0, 1)
    hum = _hum(bands[..., 0] / voiced)
    each = loud**1.5 * (0.35 + 0.65 * open_vowel) * (1 - 0.65 * hiss) * (1 - 0.75 * hum)
    jaw, now = each @ LOOKS, each[:, len(LOOKS) // 2]
    # Lips are quick: they close in the dip of an m, b or p, which the jaw would sleep over.
    opening = jaw * np.clip(now / (0.5 * jaw + EPSILON), 0, 1)
    presence = np.clip(loud @ LOOKS * 2, 0, 1)
    width = _width(np.einsum("nkb,k->nb", bands, LOOKS)) * presence
    teeth = np.maximum(hiss @ LOOKS * presence, 0.7 * np.clip(width, 0, 1))
    return Shapes(opening, width, teeth)


def _hum(low: Floats) -> Floats:
    """How much a sound is an m or n, from the share of the murmur: they have little else."""
    hum: Floats = np.clip(8 * (low - 0.8), 0, 1)
    return hum


def _width(bands: Floats) -> Floats:
    """(n,) from the vowel's colour: a high second formant is wide, none above 1000 Hz is round."""
    voiced = bands[:, :4].sum(axis=1) + EPSILON
    low, second, front = (bands[:, band] / voiced for band in (0, 2, 3))
    dull = np.clip(1 - 5 * (second + front), 0, 1)
    deep = np.clip(3 * (low - 0.5), 0, 1) * np.clip(1 - 5 * front, 0, 1)
    round_ = (0.45 * dull + 0.9 * deep) * (1 - _hum(low))
    wide = np.clip(5 * (front - 0.07) - round_, -1, 1)
    width: Floats = wide * voiced / (bands.sum(axis=1) + EPSILON)
    return width


def _spectrum_weights() -> tuple[Floats, Floats]:
    window = np.hanning(SAMPLES_PER_FRAME + 1)[:-1].astype(np.float32)
    bins = np.fft.rfftfreq(SAMPLES_PER_FRAME, 1 / SAMPLE_RATE)
    edges = pairwise(BANDS)
    member = np.stack([(low <= bins) & (bins < high) for low, high in edges], axis=1)
    scale = 2 / (SAMPLES_PER_FRAME * float(np.square(window).sum()))
    return window, member.astype(np.float32) * np.float32(scale)


_WINDOW, _MEMBER = _spectrum_weights()


def _bands(sound: Floats) -> Floats:
    """(n, 5 looks, 5 bands) power, of which a sine of amplitude 1 has 0.5."""
    first = sound.shape[1] - SAMPLES_PER_FRAME - (len(LOOKS) - 1) * STEP
    starts = first + STEP * np.arange(len(LOOKS))
    looks = sound[:, starts[:, None] + np.arange(SAMPLES_PER_FRAME)]
    spectrum = np.fft.rfft(looks * _WINDOW, axis=2)
    power: Floats = (spectrum.real**2 + spectrum.imag**2) @ _MEMBER
    return power


def _loudest(sound: Floats) -> Floats:
    """(n,) dB of the loudest 40 ms in the last second, drawn half-way to what is usual."""
    whole = sound.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    blocks = sound[:, -whole:].reshape(len(sound), -1, SAMPLES_PER_FRAME)
    power = np.einsum("nks,nks->nk", blocks, blocks).max(axis=1) / SAMPLES_PER_FRAME
    peak = 10 * np.log10(power + EPSILON)
    level: Floats = (np.maximum(peak, -45) + USUAL_DB) / 2
    return level
