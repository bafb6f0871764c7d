"""Log-mel spectrogram, as transformers' WhisperFeatureExtractor makes it (§1.4)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.types import SAMPLE_RATE

BANDS = 80
FFT = 400  # samples of a frame
HOP = 160  # samples between frames: 10 ms, half an encoder position
WINDOW_S = 30
FLOOR = 1e-10  # of the power before the logarithm
SILENCE = -10.0  # log10(FLOOR)
RANGE = 8.0  # decades kept below the loudest band

GROUP = 16
"""Bands that are summed at once, over only those bins that any of them is made of: a fifth of the
products of all bands with all bins."""

SMALL = 128
"""Rows of such a product that the library does not share out to threads, whose waking costs more
than the product."""

Log = NDArray[np.float32]  # (frames, 80) log10 of the power, neither floored nor scaled
NO_ROWS: Log = np.empty((0, BANDS), np.float32)


@cache
def _filters() -> NDArray[np.float64]:
    """(201, 80) triangles of equal area on Slaney's scale, 0 to 8000 Hz."""
    # Slaney: linear up to 1000 Hz (3 mel each 200 Hz), logarithmic above (27 mel a factor of 6.4).
    knee, step = 15.0, 27.0 / np.log(6.4)
    top = knee + step * np.log(SAMPLE_RATE / 2 / 1000.0)
    mel = np.linspace(0.0, top, BANDS + 2)
    edges = np.where(mel < knee, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - knee) / step))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, FFT // 2 + 1)
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    area = 2.0 / (edges[2:] - edges[:-2])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) * area, np.float64)


@cache
def _groups() -> list[tuple[slice, slice, NDArray[np.float64]]]:
    """Bins, the bands that are made of them, and their filters (bins, bands)."""
    groups = []
    for first in range(0, BANDS, GROUP):
        bands = slice(first, first + GROUP)
        used = np.flatnonzero(_filters()[:, bands].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1)
        groups.append((bins, bands, np.ascontiguousarray(_filters()[bins, bands])))
    return groups


@cache
def _hann() -> NDArray[np.float64]:
    """(400,) periodic."""
    return np.hanning(FFT + 1)[:-1]


def log_power(frames: NDArray[np.int16] | NDArray[np.floating]) -> Log:
    """Log10 of the mel power of sound frames (n, 400): int16, or floats in -1 … 1."""
    # Double precision: bands 8 decades under the loudest still count, which is where the rounding
    # of a single-precision transform would be seen.
    # Dividing the window by a power of two is the same as dividing the sound, exactly.
    window = _hann() / 32768 if frames.dtype == np.int16 else _hann()
    windowed = frames.astype(np.float64)  # numpy's own conversion within a product is slower
    windowed *= window
    spectrum = np.fft.rfft(windowed, axis=1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    bands = np.empty((len(frames), BANDS))
    for first in range(0, len(frames), SMALL):
        rows = slice(first, first + SMALL)
        for bins, which, filters in _groups():
            np.matmul(power[rows, bins], filters, out=bands[rows, which])
    np.maximum(bands, FLOOR, out=bands)
    return np.log10(bands, out=bands).astype(np.float32)


def scaled(floored: Log) -> Log:
    """Encoder input, about -1 … 1, from rows floored 8 decades (RANGE) below the peak."""
    return np.asarray((floored + np.float32(4.0)) / np.float32(4.0), np.float32)


def sound_frames(sound: NDArray[Any]) -> NDArray[Any]:
    """(n, 400) frames of a sound that has 200 samples before the centre of its first frame.

    A view of the contiguous sound; made so since numpy's own sliding windows take as long as all
    the rest of a picture's sound.
    """
    step = sound.itemsize
    count = (len(sound) - FFT) // HOP + 1
    return np.ndarray((count, FFT), sound.dtype, sound, 0, (HOP * step, step))


def log_mel(sound: NDArray[np.floating], window_s: int = WINDOW_S) -> NDArray[np.float32]:
    """Log-mel of a clip, padded with zeros or cut to the window: (80, 100 * window_s).

    Args:
        sound: (n,) mono at 16 kHz, -1 … 1.
    """
    log = log_rows(sound, window_s)
    return np.ascontiguousarray(scaled(np.maximum(log, log.max() - np.float32(RANGE))).T)


def log_rows(sound: NDArray[np.floating], window_s: int = WINDOW_S) -> Log:
    """The same before it is floored and scaled: (100 * window_s, 80) log10 of the power."""
    samples = window_s * SAMPLE_RATE
    clip = np.zeros(samples, np.float64)
    clip[: len(sound)] = sound[:samples]
    frames = sound_frames(np.pad(clip, FFT // 2, mode="reflect"))[:-1]
    return log_power(frames)
