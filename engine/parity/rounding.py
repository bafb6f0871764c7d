"""Allowed difference between the log-mel of 16-bit and of floating-point audio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.audio.speech import FULL_SCALE
from engine.core.types import Pcm
from engine.musetalk import mel

Mel = NDArray[np.floating]  # (80, rows)


def beyond_rounding(ours: Mel, expected: Mel, sound: NDArray[np.floating], pcm: Pcm) -> Mel:
    """By how much `ours`, of `pcm`, is further from `expected`, of `sound`, than rounding explains.

    What 16 bits change is known: the sound they leave out or, above full scale, cut off. The root
    of a band's power is a norm of the sound, so that of the one differs from that of the other by
    no more than that of the difference. Quiet bands of quiet sounds may thus differ by much, loud
    ones by nothing that counts.

    Args:
        pcm: (n,) `sound` in 16 bits, padded with zeros or cut.

    Returns:
        (80, rows) of the first rows, without those that hear where `pcm` was cut; 0 where rounding
        explains all of it.
    """
    count = expected.shape[1]
    if len(pcm) < len(sound):
        count = min(count, (len(pcm) - mel.FFT // 2) // mel.HOP)
    exactly = np.zeros(len(pcm))
    exactly[: len(sound)] = sound[: len(pcm)]
    norm, change = _norm(exactly), _norm(pcm / FULL_SCALE - exactly)
    low, high = _heard(np.maximum(norm - change, 0)), _heard(norm + change)
    exact = mel.log_mel(sound)
    off = ours[:, :count] - expected[:, :count]
    too_high, too_low = off - (high - exact)[:, :count], (low - exact)[:, :count] - off
    return np.maximum(0, np.maximum(too_high, too_low))


def _norm(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, 80) root of the power of each band."""
    return np.asarray(np.sqrt(10.0 ** mel.log_rows(sound).astype(np.float64)))


def _heard(norm: NDArray[np.float64]) -> Mel:
    """Log-mel of bands with such a norm."""
    log = 2 * np.log10(np.maximum(norm, np.sqrt(mel.FLOOR)))
    return mel.scaled(np.maximum(log, log.max() - mel.RANGE).astype(np.float32)).T
