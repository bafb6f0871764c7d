"""Log-mel spectrogram, as transformers' WhisperFeatureExtractor makes it (§1.4)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.types import SAMPLE_RATE

BANDS = 80
FFT = 400  # samples of a frame
HOP = 160  # samples between frames: 10 ms, half an encoder position
WINDOW_S = 30
FLOOR = 1e-10  # of the power before the logarithm
SILENCE = -10.0  # log10(FLOOR)
RANGE = 8.0  # decades kept below the loudest band

Log = NDArray[np.float32]  # (frames, 80) log10 of the power, neither floored nor scaled


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
def _hann() -> NDArray[np.float64]:
    """(400,) periodic."""
    return np.hanning(FFT + 1)[:-1]


def log_power(frames: NDArray[np.floating]) -> Log:
    """Log10 of the mel power of sound frames (n, 400) in -1 … 1."""
    # Double precision: bands 8 decades under the loudest still count, which is where the rounding
    # of a single-precision transform would be seen.
    spectrum = np.fft.rfft(frames * _hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(np.log10(np.maximum(power @ _filters(), FLOOR)), np.float32)


def scaled(log: Log | np.float32, peak: float) -> Log:
    """What the encoder hears: 8 decades below the peak, about -1 … 1."""
    return np.asarray((np.maximum(log, np.float32(peak - RANGE)) + 4.0) / 4.0, np.float32)


def sound_frames(sound: NDArray[np.floating]) -> NDArray[np.floating]:
    """(n, 400) frames of a sound that has 200 samples before the centre of its first frame."""
    return np.lib.stride_tricks.sliding_window_view(sound, FFT)[::HOP]


def log_mel(sound: NDArray[np.floating], window_s: int = WINDOW_S) -> NDArray[np.float32]:
    """Log-mel of a clip, padded with zeros or cut to the window: (80, 100 * window_s).

    Args:
        sound: (n,) mono at 16 kHz, -1 … 1.
    """
    samples = window_s * SAMPLE_RATE
    clip = np.zeros(samples, np.float64)
    clip[: len(sound)] = sound[:samples]
    frames = sound_frames(np.pad(clip, FFT // 2, mode="reflect"))[:-1]
    log = log_power(frames)
    return np.ascontiguousarray(scaled(log, float(log.max())).T)
