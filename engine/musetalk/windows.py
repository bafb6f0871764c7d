"""Which encoder positions a picture hears (§1.5)."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.types import FPS, SAMPLE_RATE

POSITION = 320
"""Samples at 16 kHz of one step of the Whisper encoder: 20 ms."""

POSITIONS_PER_S = SAMPLE_RATE // POSITION

PADDING = 2
"""Pictures of sound heard on either side of a picture's own; MuseTalk was trained with 2."""

STATES = 5
"""Hidden states of the encoder that a position gives: the conv stem and its four layers."""

Scalar = TypeVar("Scalar", bound=np.generic)


def picture_count(samples: int, fps: int = FPS) -> int:
    """Pictures of a whole clip (§1.5, T).

    The floor of a product of doubles, in the reference's order: a clip of 18,560 samples, 29 times
    640, has 28 pictures, since 18560 / 16000 * 25 is a little less than 29.
    """
    return math.floor(samples / SAMPLE_RATE * fps)


def position_count(samples: ArrayLike) -> NDArray[np.int64]:
    """Number of positions heard for each count of samples (§1.5, A); zero vectors follow.

    The floor of a product of doubles, too: 28 of 9280 samples, 29 times 320.
    """
    count: NDArray[np.int64] = np.floor(np.asarray(samples) / SAMPLE_RATE * POSITIONS_PER_S).astype(
        np.int64
    )
    return count


def window_length(left: int = PADDING, right: int = PADDING) -> int:
    """Positions in the window of one picture: 10 as trained."""
    return 2 * (left + right + 1)


def padding_positions(fps: int = FPS, left: int = PADDING) -> int:
    """Positions by which the window of a picture starts before the picture: 4 as trained.

    It is ceil(50 / fps) a padding picture, so below 25 fps windows slide earlier (§1.5, traps).
    """
    return math.ceil(POSITIONS_PER_S / fps) * left


def window_positions(
    first: int, count: int, fps: int = FPS, left: int = PADDING, right: int = PADDING
) -> NDArray[np.int64]:
    """Positions heard by the pictures `first` … `first + count - 1` of a clip.

    Returns (count, window_length) positions, which run below 0 at the start of the clip and past
    its end at the end; those are zero vectors. At 25 fps picture i hears 2i - 4 … 2i + 5.
    """
    return positions_of(np.arange(first, first + count), fps, left, right)


def positions_of(
    pictures: ArrayLike, fps: int = FPS, left: int = PADDING, right: int = PADDING
) -> NDArray[np.int64]:
    """The same for any pictures (n,): (n, window_length) positions."""
    # Floor of a product in double precision, as the reference computes it.
    starts = np.floor(np.asarray(pictures) * (POSITIONS_PER_S / fps)).astype(np.int64)
    start: NDArray[np.int64] = starts - padding_positions(fps, left)
    return start[:, None] + np.arange(window_length(left, right))


def gather(
    states: NDArray[Scalar], index: NDArray[np.int64], valid: NDArray[np.bool_]
) -> NDArray[Scalar]:
    """Tokens of a batch of windows, position-major: token 5 * position + state.

    Args:
        states: (batch, positions, 5, channels) the encoder's output.
        index: (batch, window) rows of `states`; any number where not valid.
        valid: (batch, window) False where the picture hears a zero vector.

    Returns:
        (batch, window * 5, channels).
    """
    rows = np.arange(len(index))[:, None]
    heard = states[rows, np.where(valid, index, 0)]
    heard[~valid] = 0
    return heard.reshape(len(index), -1, states.shape[-1])
