"""A closed mouth in a picture, and how it looks open: lips and jaw moved, the inside painted.

All in the coordinates of the 256 x 256 face. Columns stay columns: a tilted or smiling mouth is a
sheared one, so that everything but the last step is a sum or product of a row and a column.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.warp_rest import MARGIN, Mouth, fade
from engine.backends.warp_sound import Shape
from engine.types import FACE_SIZE

Bgr = NDArray[np.uint8]
Floats = NDArray[np.floating]

# Shares of the mouth's half width.
LIFT = 0.11  # the upper lip rises, wide open
DROP = 0.50  # the lower lip falls
JAW = 0.09  # the chin falls
SAG = 0.12  # the corners fall
LIP = 0.30  # thickness of the lower lip, which moves as one
UNDER_LIP = 1.25  # from the meeting of the lips down to where only the chin's move is left

# Of the corners' distance.
SPREAD = 0.10  # outwards, widest
PURSE = 0.24  # inwards, roundest
NARROW = 0.10  # inwards, wide open

INSIDE = np.array([40, 24, 60], np.float32)  # BGR
TEETH = np.array([214, 226, 234], np.float32)
TONGUE = np.array([88, 76, 172], np.float32)

STILL = 0.02  # smaller shapes are not drawn


def draw(mouth: Mouth, shape: Shape, out: Bgr) -> None:
    """Write the face with its mouth in a shape into `out`, (256, 256, 3) BGR."""
    opening, width = shape.opening, shape.width
    out[:] = mouth.face
    if opening < STILL and abs(width) < STILL:
        return
    left, top, right, bottom = mouth.region
    spread = 1 + (SPREAD if width > 0 else PURSE) * width - NARROW * opening
    lips = _Lips.of(mouth, opening, width, spread)
    moved_x = mouth.columns - mouth.tall * (mouth.near * np.float32(1 - 1 / spread))
    moved_y = _moved_rows(mouth, lips, opening)
    picture = out[top:bottom, left:right]
    picture[:] = cv2.remap(mouth.face, moved_x, moved_y, cv2.INTER_LINEAR)
    _paint_inside(mouth, lips, shape.teeth, picture)


@dataclass(frozen=True, slots=True, eq=False)
class _Lips:
    """Edges of the open mouth: rows, one a column."""

    rest: Floats  # where the lips meet in the resting face that is shown in the column
    line: Floats  # where they would meet
    upper: Floats
    lower: Floats
    across: Floats  # place along the moved mouth, -1 and 1 at its corners

    @classmethod
    def of(cls, mouth: Mouth, opening: float, width: float, spread: float) -> _Lips:
        across = mouth.across / np.float32(0.95 * spread)
        oval = np.maximum(1 - np.square(across), 0) ** np.float32(0.6)
        # The corners go down a little with the jaw or when pursed, the cheeks beside them less.
        sag = opening + 0.8 * max(-width, 0.0)
        shown = mouth.columns - mouth.near * np.float32(1 - 1 / spread)
        rest = np.interp(shown, mouth.columns, mouth.line).astype(np.float32)
        line = rest + SAG * mouth.half * sag * mouth.beside
        upper = line - LIFT * mouth.half * opening * oval
        lower = line + DROP * mouth.half * opening * oval
        return cls(rest, line, upper, lower, across)


def _moved_rows(mouth: Mouth, lips: _Lips, opening: float) -> Floats:
    """The row of the resting face that each pixel shows: (rows, columns) float32."""
    half, rows = mouth.half, mouth.rows
    middle = (lips.upper + lips.lower) / 2
    first, last = np.searchsorted(rows[:, 0], (middle.min(), middle.max()))
    moved = np.empty((len(rows), len(mouth.line)), np.float32)
    chin = JAW * half * opening * mouth.chin[first:]
    lip = lips.lower + LIP * half  # its lower edge
    # What the lip moves more than the chin fades out between them.
    end = np.minimum(lips.rest + UNDER_LIP * half, FACE_SIZE - MARGIN / 2)
    fading = fade((rows[first:] - lip) / np.maximum(end - lip, 1))
    below = chin + fading * (lips.lower - lips.rest - chin)
    np.subtract(rows[first:], below, out=moved[first:])
    over = lips.upper - rows[:last]
    above = rows[:last] + fade(over / (0.8 * half) - 0.31) * (lips.rest - lips.upper)
    np.copyto(moved[:last], above, where=rows[:last] < middle)
    return moved


def _paint_inside(mouth: Mouth, lips: _Lips, teeth: float, picture: Bgr) -> None:
    """The inside of the mouth, between the lips of the moved picture."""
    columns = np.flatnonzero(lips.lower - lips.upper > 0.25)
    if not len(columns):
        return
    across = np.s_[columns[0] : columns[-1] + 1]
    line, upper, lower = lips.line[across], lips.upper[across], lips.lower[across]
    down = np.s_[slice(*np.searchsorted(mouth.rows[:, 0], (upper.min(), lower.max())))]
    rows = mouth.rows[down]
    below_upper, side = rows - upper, np.square(lips.across[across])
    cover = np.clip(below_upper, 0, 1) * np.clip(lower - rows, 0, 1)
    # Upper teeth belong to the skull: they stay where the lips rest, whatever the jaw does.
    edge = line + mouth.half * (0.15 * teeth - 0.02 - 0.2 * side)
    shown = np.clip((edge - rows) / 1.5 + 0.5, 0, 1) * np.clip(1.1 - side, 0, 1)
    shade = np.minimum(0.72 + 0.06 * below_upper, 1)
    depth = below_upper / np.maximum(lower - upper, 1)
    tongue = np.clip(3 * depth - 1.8, 0, 0.8) * np.clip(1.1 - 1.6 * side, 0, 1)
    inside = INSIDE + (TONGUE - INSIDE) * tongue[..., None]
    inside += (TEETH * shade[..., None] - inside) * shown[..., None]
    under = picture[down, across].astype(np.float32)
    under += (inside - under) * cover[..., None]
    picture[down, across] = under
