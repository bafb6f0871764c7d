"""Sound like speech."""

from __future__ import annotations

import numpy as np

from engine.core.types import SAMPLE_RATE, Pcm


def speech_like(samples: int, seed: int = 0) -> Pcm:
    """Voiced syllables with pauses and a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / SAMPLE_RATE
    pitch = np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * time)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * harmonic * pitch) / harmonic for harmonic in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * time) + 0.3, 0, 1)
    sound = 0.25 * voice * syllables + 0.004 * rng.standard_normal(samples)
    return np.clip(sound * 32767, -32768, 32767).astype(np.int16)
