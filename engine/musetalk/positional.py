"""The sinusoids that mark a token's place among the tokens of its picture (§1.6)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BASE = 10_000.0
WIDTH = 384


def positional_table(tokens: int, width: int = WIDTH) -> NDArray[np.float32]:
    """(tokens, width) float32: sine in even channels, cosine in odd ones."""
    # The reference's angles are single-precision products. Each function is evaluated in double
    # precision and rounded once, so that the table is the same on every machine.
    exponents = np.arange(0, width, 2, dtype=np.float32) * np.float32(-math.log(BASE) / width)
    rates = np.exp(exponents.astype(np.float64)).astype(np.float32)
    angles = (np.arange(tokens, dtype=np.float32)[:, None] * rates).astype(np.float64)
    table = np.empty((tokens, width), np.float32)
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles)
    return table
