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

# Shares of the mouth's half width.
REACH = 1.9  # to either side of the middle: what moves
LIFT = 0.11  # the upper lip rises, wide open
DROP = 0.50  # the lower lip falls
JAW = 0.13  # the chin falls
SAG = 0.12  # the corners fall

SPREAD = 0.10  # the corners move outwards, widest
PURSE = 0.24  # inwards, roundest
NARROW = 0.10  # inwards, wide open

INSIDE = np.array([40, 24, 60], np.float32)  # BGR
TEETH = np.array([214, 226, 234], np.float32)
TONGUE = np.array([88, 76, 172], np.float32)


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
    spread = 1 + (SPREAD if width > 0 else PURSE) * width - NARROW * opening
    lips = _Lips.of(mouth, opening, spread)
    rows = np.arange(top, bottom, dtype=np.float32)[:, None]
    moved_y = _moved_rows(mouth, lips, rows, opening)
    moved_x = _moved_columns(mouth, rows, spread)
    warped = np.asarray(cv2.remap(mouth.face, moved_x, moved_y, cv2.INTER_LINEAR), np.uint8)
    out[top:bottom, left:right] = _with_inside(mouth, lips, warped, rows, teeth)


@dataclass(frozen=True, eq=False)
class _Lips:
    """Edges of the open mouth: rows, one a column."""

    line: Floats  # where the lips would meet
    upper: Floats
    lower: Floats
    across: Floats  # place along the moved mouth, -1 and 1 at its corners

    @classmethod
    def of(cls, mouth: Mouth, opening: float, spread: float) -> _Lips:
        across = mouth.across / (0.95 * spread)
        oval = np.sqrt(np.clip(1 - np.square(across), 0, 1))
        away = np.clip(np.abs(mouth.across), 0, 2)
        # The corners go down a little with the jaw, and the cheeks beside them less and less.
        sag = SAG * mouth.half * opening * np.square(np.sin(np.pi / 2 * away))
        line = mouth.line + sag
        upper = line - LIFT * mouth.half * opening * oval
        lower = line + DROP * mouth.half * opening * oval
        return cls(line, upper, lower, across)


def _moved_rows(mouth: Mouth, lips: _Lips, rows: Floats, opening: float) -> Floats:
    """The row of the resting face that each pixel shows."""
    half = mouth.half
    above = _fade((lips.upper - rows - 0.25 * half) / (0.8 * half)) * (mouth.line - lips.upper)
    # The lower lip moves as one; under it, what it moves more than the chin fades out.
    chin = JAW * half * opening * np.exp(-np.square(mouth.across / 1.2))
    under = rows - lips.lower
    lip = _fade((under - 0.30 * half) / (0.75 * half)) * (lips.lower - mouth.line - chin)
    end = mouth.floor - lips.lower
    below = lip + chin * _fade((under - 1.05 * half) / np.maximum(end - 1.05 * half, 1))
    moved = np.where(rows < (lips.upper + lips.lower) / 2, rows + above, rows - below)
    return np.asarray(moved, np.float32)


def _moved_columns(mouth: Mouth, rows: Floats, spread: float) -> Floats:
    left, _, right, _ = mouth.region
    columns = np.arange(left, right, dtype=np.float32)
    # Short of the cheeks' outline, which must stay.
    near = _fade((np.abs(mouth.across) - 0.85) / 0.6) * mouth.across * mouth.half
    tall = np.exp(-np.square((rows - mouth.line.mean()) / (0.5 * mouth.half)))
    return np.asarray(columns - near * (1 - 1 / spread) * tall, np.float32)


def _with_inside(mouth: Mouth, lips: _Lips, warped: Bgr, rows: Floats, teeth: float) -> Bgr:
    """The inside of the mouth between the lips."""
    cover = np.clip(rows - lips.upper, 0, 1) * np.clip(lips.lower - rows, 0, 1)
    used = np.flatnonzero(cover.any(axis=1))
    if not len(used):
        return warped
    band = np.s_[used[0] : used[-1] + 1]
    rows, cover = rows[band], cover[band]
    side = np.square(lips.across)
    # Upper teeth belong to the skull: they stay where the lips rest, whatever the jaw does.
    edge = lips.line + mouth.half * (0.15 * teeth - 0.2 * side)
    shown = np.clip((edge - rows) / 1.5 + 0.5, 0, 1) * np.clip(1.1 - side, 0, 1)
    shade = np.clip(0.72 + 0.06 * (rows - lips.upper), 0, 1)
    depth = (rows - lips.upper) / np.maximum(lips.lower - lips.upper, 1)
    tongue = np.clip((depth - 0.6) * 3, 0, 0.8) * np.clip(1.1 - 1.6 * side, 0, 1)
    inside = INSIDE + (TONGUE - INSIDE) * tongue[..., None]
    inside = inside + (TEETH * shade[..., None] - inside) * shown[..., None]
    picture = warped.copy()
    under = warped[band].astype(np.float32)
    picture[band] = (under + (inside - under) * cover[..., None]).astype(np.uint8)
    return picture


def _fade(x: Floats) -> Floats:
    """1 below 0, 0 above 1, smooth between."""
    t = np.clip(x, 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)
