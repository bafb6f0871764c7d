"""What a mouth would do for a piece of sound: how open, how wide, how much teeth.

Each picture is judged from its own window alone, so the same sound gives the same face in any
batch. Smoothing is symmetrical around the middle of the picture, hence without delay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME

HOP = 160  # 10 ms
LEFT_CONTEXT = 100 * HOP  # 1 s: how loud this speaker is
LOOKAHEAD = 2 * HOP  # as much after the picture's middle as the smoothing reaches

Floats = NDArray[np.float32]

QUIET_DB = -30.0  # below the speaker's loudest; the mouth is closed
USUAL_DB = -22.0  # of full scale: a loud vowel of usual speech, where nothing is known yet


@dataclass(frozen=True, slots=True)
class Shapes:
    """Of a batch of pictures."""

    opening: Floats  # (n,) 0 closed … 1 wide open
    width: Floats  # (n,) -1 round as in "oo" … 1 wide as in "ee"
    teeth: Floats  # (n,) 0 hidden … 1 shown, as in "s"


def _window() -> Floats:
    weights = np.hanning(SAMPLES_PER_FRAME + 2 * LOOKAHEAD + 2)[1:-1]
    return weights.astype(np.float32)


_WEIGHTS = _window()
_BINS = np.fft.rfftfreq(2048, 1 / SAMPLE_RATE)
_EDGES = ((150, 500), (500, 1100), (1100, 1800), (1800, 3600), (3600, 8000))
_BANDS = np.stack([(low <= _BINS) & (high > _BINS) for low, high in _EDGES]).astype(np.float32)


def shapes(windows: NDArray[np.int16]) -> Shapes:
    """Of windows (n, LEFT_CONTEXT + 640 + LOOKAHEAD)."""
    sound = windows.astype(np.float32) / np.float32(32768)
    near = sound[:, -len(_WEIGHTS) :] * _WEIGHTS
    spectrum = np.fft.rfft(near, 2048, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    bands = power @ _BANDS.T / (1024 * float(np.square(_WEIGHTS).sum()))
    total = bands.sum(axis=1) + 1e-9
    level = 10 * np.log10(total)
    voiced = bands[:, :4].sum(axis=1) + 1e-9
    loud = np.clip((level - _loudest(sound) - QUIET_DB) / -QUIET_DB, 0, 1)
    first = np.clip((_share(bands, 1, voiced) + _share(bands, 2, voiced)) * 1.6, 0, 1)
    front = np.clip(_share(bands, 3, voiced) * 4, 0, 1)
    hiss = np.clip(bands[:, 4] / total * 1.6 - 0.4, 0, 1)
    body = 0.35 + 0.65 * first
    opening = loud**1.3 * body * (1 - 0.6 * hiss)
    width = np.clip(front * 1.4 - 0.6 + 0.3 * first, -1, 1) * loud
    return Shapes(
        opening.astype(np.float32),
        width.astype(np.float32),
        np.maximum(hiss, 0.5 * front).astype(np.float32),
    )


def _share(bands: Floats, band: int, total: Floats) -> Floats:
    share: Floats = bands[:, band] / total
    return share


def _loudest(sound: Floats) -> Floats:
    """Level in dB of the loudest of the last second, drawn half-way to what is usual."""
    blocks = sound[:, : sound.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    power = np.square(blocks.reshape(len(sound), -1, SAMPLES_PER_FRAME)).mean(axis=2)
    peak = 10 * np.log10(power.max(axis=1) + 1e-9)
    level: Floats = ((np.maximum(peak, -45) + USUAL_DB) / 2).astype(np.float32)
    return level
