"""The soft mask by which a generated face is blended into its frame (§3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.musetalk.boxes import blend_squares

UPPER_BOUNDARY = 0.5
"""Share of the square, from its top, that is never painted: down to the middle of the box."""

BLUR = 0.1
"""Kernel of the blur over the side of the square, where masks are prepared once."""

BLUR_OFFLINE = 0.05
"""The same in upstream's offline script, which makes a mask a frame (§3.3)."""


def square_crop(frame: NDArray[np.uint8], square: Sequence[int]) -> NDArray[np.uint8]:
    """The square of a frame, zeros where it leaves the frame: (side, side, channels)."""
    x1, y1, x2, y2 = (int(edge) for edge in square)
    height, width = frame.shape[:2]
    crop = np.zeros((y2 - y1, x2 - x1, *frame.shape[2:]), np.uint8)
    top, left, bottom, right = max(y1, 0), max(x1, 0), min(y2, height), min(x2, width)
    if top < bottom and left < right:
        crop[top - y1 : bottom - y1, left - x1 : right - x1] = frame[top:bottom, left:right]
    return crop


def blend_mask(
    region: NDArray[np.uint8], box: Sequence[int], blur: float = BLUR
) -> NDArray[np.uint8]:
    """Weights 0 … 255 of the generated face over the square around its box: (side, side).

    Args:
        region: (512, 512) the parser's mask of that square.
        box: x1, y1, x2, y2 of the face in the frame.
    """
    x1, y1, x2, y2 = (int(edge) for edge in box)
    left, top, right, bottom = (int(e) for e in blend_squares(np.array([[x1, y1, x2, y2]]))[0])
    side = (right - left, bottom - top)
    # Pillow smooths when it shrinks, which OpenCV's bicubic does not.
    whole = np.asarray(Image.fromarray(region).resize(side, Image.Resampling.BICUBIC), np.uint8)
    mask = np.zeros_like(whole)
    inside = np.s_[y1 - top : y2 - top, x1 - left : x2 - left]
    mask[inside] = whole[inside]
    mask[: int(side[1] * UPPER_BOUNDARY)] = 0
    kernel = int(blur * side[0] // 2 * 2) + 1
    return np.asarray(cv2.GaussianBlur(mask, (kernel, kernel), 0), np.uint8)
