"""The region of a face that is painted, where no face parser says it: a jaw of usual shape."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from engine.musetalk.boxes import blend_squares
from engine.musetalk.masks import blend_mask

PARSER_SIDE = 512  # of the region, as the parser makes it

# Share of the face box: an ellipse within it, whose lower half is cheeks, jaw and chin.
CENTRE = (0.5, 0.42)
RADII = (0.44, 0.58)
ROUNDNESS = 2.4  # 2 is an ellipse; more is squarer


def jaw_masks(boxes: NDArray[np.int32]) -> list[NDArray[np.uint8]]:
    """A soft mask for each box, of the size of its blend square (musetalk.md §3.1)."""
    return [_mask(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.tolist()]


@lru_cache(maxsize=256)
def _mask(width: int, height: int) -> NDArray[np.uint8]:
    """A box's place in the frame does not matter, only its size."""
    box = np.array([[0, 0, width, height]], np.int32)
    left, top, right, bottom = (int(edge) for edge in blend_squares(box)[0])
    ys, xs = np.mgrid[0:PARSER_SIDE, 0:PARSER_SIDE] + 0.5
    x = (left + xs * (right - left) / PARSER_SIDE) / width
    y = (top + ys * (bottom - top) / PARSER_SIDE) / height
    away = np.abs((x - CENTRE[0]) / RADII[0]) ** ROUNDNESS
    away += np.abs((y - CENTRE[1]) / RADII[1]) ** ROUNDNESS
    region = np.where(away <= 1, 255, 0).astype(np.uint8)
    return blend_mask(region, box[0])
