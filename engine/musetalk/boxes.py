"""The face box that is painted, and the square around it that is blended (§2.4, §2.5, §3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int32]  # (n, 4) x1, y1, x2, y2 in pixels of the frame; x2, y2 excluded

MASK_LINE = 29
"""The landmark, halfway down the nose, whose height is the middle of the box."""

NO_FACE = (0, 0, 0, 0)

EXPAND = 1.5
"""Side of the blended square over the longer side of the box."""

EXTRA_MARGIN = {"v15": 10, "v1": 0}
"""Source pixels by which a version of MuseTalk lengthens the box downwards (§2.5)."""


def face_boxes(landmarks: NDArray[np.floating], detected: NDArray[np.integer], shift: int) -> Boxes:
    """Boxes of faces from their landmarks, or from the detector where those make no box.

    Args:
        landmarks: (n, 68, 2) iBUG points x, y; truncated to whole pixels.
        detected: (n, 4) the detector's boxes; a negative x1 means that it found no face.
        shift: `bbox_shift`: + 1 lowers the mask line by a pixel and the top by two. Version 1.5
            always uses 0.

    Returns:
        (n, 4), NO_FACE where the detector found none.
    """
    points = landmarks.astype(np.int32)
    left, right = points[:, :, 0].min(axis=1), points[:, :, 0].max(axis=1)
    bottom = points[:, :, 1].max(axis=1)
    line = points[:, MASK_LINE, 1] + shift
    top = np.maximum(0, line - (bottom - line))
    boxes = np.stack([left, top, right, bottom], axis=1)
    usable = (right > left) & (bottom > top) & (left >= 0)
    boxes = np.where(usable[:, None], boxes, detected)
    found = detected[:, :1] >= 0
    return np.where(found, boxes, NO_FACE).astype(np.int32)


def lengthened(boxes: Boxes, margin: int, frame_height: int) -> Boxes:
    """Boxes whose bottom is `margin` pixels lower, but inside the frame."""
    longer = boxes.copy()
    longer[:, 3] = np.minimum(longer[:, 3] + margin, frame_height)
    return longer


def blend_squares(boxes: Boxes) -> Boxes:
    """The squares around the boxes that blending looks at; they may leave the frame."""
    x1, y1, x2, y2 = (boxes[:, i].astype(np.int64) for i in range(4))
    centre_x, centre_y = (x1 + x2) // 2, (y1 + y2) // 2
    half = (np.maximum(x2 - x1, y2 - y1) // 2 * EXPAND).astype(np.int64)
    squares = [centre_x - half, centre_y - half, centre_x + half, centre_y + half]
    return np.stack(squares, axis=1).astype(np.int32)
