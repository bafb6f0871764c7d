"""From the face parser's classes to the region that is blended in (§2, face parser)."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ParsingMode = Literal["jaw", "raw", "neck"]
Mask = NDArray[np.uint8]  # (512, 512) 0 or 255

PARSING_MODE: dict[str, ParsingMode] = {"v15": "jaw", "v1": "raw"}
"""The parser's mode of each version of MuseTalk."""

SIZE = 512
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

SKIN, NOSE, NECK = 1, 10, 14
MOUTH = (11, 12, 13)  # interior, upper lip, lower lip

CHEEK_WIDTH = 90
"""Columns from the middle line to a cheek zone, as upstream's scripts set it."""

DILATE_SIZE, DILATE_FROM, DILATE_FULL = 33, 10, 21
ERODE_SIZE = (35, 3)
ERODE_STEPS = 2


def parser_input(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(3, 512, 512) normalised as for ImageNet, of an RGB crop of any size."""
    resized = Image.fromarray(rgb).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    unit = np.asarray(resized, np.uint8).astype(np.float32) / np.float32(255)
    normalised: NDArray[np.float32] = (unit - MEAN) / STD
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def dilate_kernel() -> Mask:
    """(33, 33) a triangle from row 10 down to row 20, then a band 21 wide.

    OpenCV does not mirror a kernel, so dilation grows the skin 16 pixels up, 6 down, 10 sideways.
    """
    rows = np.arange(DILATE_SIZE)[:, None]
    reach = np.minimum(rows, DILATE_FULL - 1) - DILATE_FROM
    return (np.abs(np.arange(DILATE_SIZE) - DILATE_SIZE // 2) <= reach).astype(np.uint8)


def erode_kernel() -> Mask:
    """(3, 35) an ellipse so flat that its rows are 1, 35 and 1 wide."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, ERODE_SIZE), np.uint8)


def cheek_zones(left: int = CHEEK_WIDTH, right: int = CHEEK_WIDTH) -> Mask:
    """255 in the columns of the cheeks, outside the mouth's strip of left + right columns."""
    columns = np.arange(SIZE)
    cheeks = (columns <= SIZE // 2 - left) | (columns >= SIZE // 2 + right)
    return np.broadcast_to(np.where(cheeks, np.uint8(255), np.uint8(0)), (SIZE, SIZE)).copy()


def _jaw(classes: NDArray[np.uint8], left: int, right: int) -> NDArray[np.bool_]:
    """The skin grown over the jaw line, but not into the cheeks."""
    skin = np.where(classes == SKIN, np.uint8(255), np.uint8(0))
    grown = cv2.dilate(skin, dilate_kernel())
    kept = cv2.erode(grown, erode_kernel(), iterations=ERODE_STEPS)
    region = np.where(cheek_zones(left, right) > 0, kept, grown)
    jaw: NDArray[np.bool_] = (region == 255) & (classes != NOSE)
    return jaw


def parser_mask(
    classes: NDArray[np.uint8],
    mode: ParsingMode = "jaw",
    left_cheek: int = CHEEK_WIDTH,
    right_cheek: int = CHEEK_WIDTH,
) -> Mask:
    """The region where the generated face shows, from the parser's classes (512, 512).

    Args:
        mode: `jaw` is version 1.5's, `raw` version 1.0's; `neck` is raw with the neck.
        left_cheek, right_cheek: columns kept free of the cheek zones, for `jaw`.
    """
    mouth = np.isin(classes, MOUTH)
    if mode == "jaw":
        region = _jaw(classes, left_cheek, right_cheek) | mouth
    elif mode == "raw":
        region = (classes == SKIN) | mouth
    else:
        region = (classes == SKIN) | (classes == NECK) | mouth
    return np.where(region, np.uint8(255), np.uint8(0))
