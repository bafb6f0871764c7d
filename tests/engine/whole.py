"""What pictures of a whole clip hear, as the specification words it (musetalk.md §1.5)."""

from __future__ import annotations

import math

import numpy as np


def clip_tokens(states: np.ndarray, samples: int) -> np.ndarray:
    """(pictures, 50, channels) of states (positions, 5, channels): picture i hears 2i-4 … 2i+5."""
    positions, pictures = (math.floor(samples / 16_000 * rate) for rate in (50, 25))
    padded = np.concatenate([np.zeros_like(states[:4]), states[:positions]])
    padded = np.concatenate([padded, np.zeros((12, *states.shape[1:]), states.dtype)])
    heard = [padded[2 * picture :][:10] for picture in range(pictures)]
    return np.array(heard).reshape(len(heard), 50, -1)
