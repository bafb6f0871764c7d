"""A closed mouth in a picture, and how it looks open: lips and jaw moved, the inside painted.

All in the coordinates of the 256 x 256 face. Columns stay columns: a tilted or smiling mouth is a
sheared one, so that everything but the last step is a sum or product of a row and a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.musetalk.image import crop_face
from engine.persona import Persona
from engine.types import FACE_SIZE

Bgr = NDArray[np.uint8]
Floats = NDArray[np.floating]

REACH = 1.9  # half widths to either side of the mouth that move
LIFT = 0.10  # of the half width, how far the upper lip rises when wide open
DROP = 0.62  # how far the lower lip falls
INSIDE = np.array([38, 22, 58], np.float32)  # BGR
TEETH = np.array([214, 226, 234], np.float32)
TONGUE = np.array([82, 72, 168], np.float32)


@dataclass(frozen=True, eq=False)
class Mouth:
    """What is known of one face at rest."""

    face: Bgr  # (256, 256, 3)
    region: tuple[int, int, int, int]  # left, top, right, bottom of what moves
    half: float  # half width of the mouth, pixels
    across: Floats  # (columns,) place along the mouth, -1 and 1 at its corners
    line: Floats  # (columns,) row of the closed lips
    floor: float  # row where the face ends: nothing moves there

    @classmethod
    def of(cls, persona: Persona, index: int) -> Mouth:
        box = persona.boxes[index]
        face = crop_face(persona.frames[index], box)
        x1, y1, x2, y2 = (float(edge) for edge in box)
        scale_x, scale_y = FACE_SIZE / (x2 - x1), FACE_SIZE / (y2 - y1)
        x, y, half, tilt = (float(v) for v in persona.mouths[index])
        x, y, half = (x - x1) * scale_x, (y - y1) * scale_y, half * scale_x
        region = (
            max(0, round(x - REACH * half)),
            max(0, round(y - 1.2 * half)),
            min(FACE_SIZE, round(x + REACH * half)),
            FACE_SIZE,
        )
        columns = np.arange(region[0], region[2], dtype=np.float32) - x
        slope = np.tan(tilt) * scale_y / scale_x
        line = y + slope * columns + _bend(face, x, y, half, slope, columns)
        return cls(face, region, half, columns / half, line.astype(np.float32), FACE_SIZE - 1.0)


def _bend(face: Bgr, x: float, y: float, half: float, slope: float, columns: Floats) -> Floats:
    """How the line between the lips departs from the straight one: where it is darkest."""
    grey = cv2.GaussianBlur(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), (3, 3), 0).astype(np.float32)
    across = np.linspace(-0.8, 0.8, 33)
    rows = np.arange(-0.3, 0.3, 1 / half)
    at_x = np.clip(x + across * half, 0, FACE_SIZE - 1).astype(int)
    at_y = y + slope * across[None] * half + rows[:, None] * half
    values = grey[np.clip(at_y, 0, FACE_SIZE - 1).astype(int), at_x[None]]
    found = rows[values.argmin(axis=0)] * half
    curve = np.polyfit(across, found, 2)
    bent: Floats = np.polyval(curve, np.clip(columns / half, -1.2, 1.2)).astype(np.float32)
    return bent


def draw(mouth: Mouth, opening: float, width: float, teeth: float, out: Bgr) -> None:
    """Write the face with its mouth in a shape into `out`, (256, 256, 3) BGR."""
    out[:] = mouth.face
    if opening < 0.02 and abs(width) < 0.02:
        return
    left, top, right, bottom = mouth.region
    half, line = mouth.half, mouth.line
    spread = 1 + 0.10 * width  # of the corners
    shape = np.clip(1 - np.square(mouth.across / (0.92 * spread)), 0, 1)
    narrow = shape ** (0.75 if width > 0 else 0.75 - 0.15 * width)
    upper = line - LIFT * half * opening * narrow
    lower = line + DROP * half * opening * narrow
    rows = np.arange(top, bottom, dtype=np.float32)[:, None]
    moved_y = _moved_rows(mouth, rows, upper, lower, opening)
    moved_x = _moved_columns(mouth, rows, spread)
    warped = np.asarray(cv2.remap(mouth.face, moved_x, moved_y, cv2.INTER_LINEAR), np.uint8)
    out[top:bottom, left:right] = _with_inside(mouth, warped, rows, upper, lower, teeth)


def _moved_rows(mouth: Mouth, rows: Floats, upper: Floats, lower: Floats, opening: float) -> Floats:
    """The row of the resting face that each pixel shows."""
    half, line = mouth.half, mouth.line
    jaw = 0.16 * half * opening * np.exp(-np.square(mouth.across / 1.3))
    above = _fade((upper - rows - 0.25 * half) / (0.75 * half)) * (line - upper)
    reach = np.maximum(mouth.floor - lower - 0.3 * half, 1.0)
    below = _fade((rows - lower - 0.3 * half) / reach) * (lower - line + jaw * 0)
    moved = np.where(rows < (upper + lower) / 2, rows + above, rows - below)
    return np.asarray(moved, np.float32)


def _moved_columns(mouth: Mouth, rows: Floats, spread: float) -> Floats:
    left, _, right, _ = mouth.region
    columns = np.arange(left, right, dtype=np.float32)
    near = _fade(np.abs(mouth.across) - 0.9) * mouth.across * mouth.half
    tall = np.exp(-np.square((rows - mouth.line.mean()) / (0.7 * mouth.half)))
    return np.asarray(columns - near * (1 - 1 / spread) * tall, np.float32)


def _with_inside(
    mouth: Mouth, warped: Bgr, rows: Floats, upper: Floats, lower: Floats, teeth: float
) -> Bgr:
    """The inside of the mouth between the lips."""
    gap = lower - upper
    cover = np.clip(rows - upper, 0, 1) * np.clip(lower - rows, 0, 1)
    used = np.flatnonzero(cover.any(axis=1))
    if not len(used):
        return warped
    band = np.s_[used[0] : used[-1] + 1]
    rows, cover = rows[band], cover[band]
    depth = (rows - upper) / np.maximum(gap, 1)
    height = mouth.half * (0.13 + 0.10 * teeth)
    shown = np.clip((upper + height - rows) / 2 + 0.5, 0, 1)
    shown = shown * np.clip(1.15 - np.square(mouth.across / 0.8), 0, 1) * min(1, 0.4 + teeth)
    light = np.clip(0.55 + (rows - upper) / height * 0.5, 0, 1)
    tongue = np.clip((depth - 0.62) * 4, 0, 1) * np.clip(1 - np.square(mouth.across / 0.6), 0, 1)
    inside = INSIDE + (TONGUE - INSIDE) * (0.8 * tongue)[..., None]
    inside = inside + (TEETH * light[..., None] - inside) * shown[..., None]
    picture = warped.copy()
    below = warped[band].astype(np.float32)
    picture[band] = (below + (inside - below) * cover[..., None]).astype(np.uint8)
    return picture


def _fade(x: Floats) -> Floats:
    """1 below 0, 0 above 1, smooth between."""
    t = np.clip(x, 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)
