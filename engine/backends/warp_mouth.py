"""A closed mouth in a picture, and how it looks open: lips and jaw moved, the inside painted.

All in the coordinates of the 256 x 256 face. Columns stay columns: a tilted or smiling mouth is a
sheared one, so that everything but the last step is a sum or product of a row and a column.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.warp_rest import MARGIN, SPARSE, Mouth, rise
from engine.backends.warp_sound import Shape
from engine.core.types import FACE_SIZE

Bgr = NDArray[np.uint8]
Floats = NDArray[np.floating]

# Shares of the mouth's half width.
LIFT = 0.11  # the upper lip rises, wide open
DROP = 0.50  # the lower lip falls
JAW = 0.09  # the chin falls
SAG = 0.12  # the corners fall
LIP = 0.30  # thickness of the lower lip, which moves as one
FADING = 0.80  # upwards, in which the upper lip's move fades out
OVAL = 0.6  # power of a parabola that outlines the opening
UNDER_LIP = 1.25  # from the meeting of the lips down to where only the chin's move is left

# Of the corners' distance.
SPREAD = 0.10  # outwards, widest
PURSE = 0.24  # inwards, roundest
NARROW = 0.10  # inwards, wide open

INSIDE = np.array([40, 24, 60], np.float32)  # BGR
TEETH = np.array([214, 226, 234], np.float32)
TONGUE = np.array([88, 76, 172], np.float32)
COLOURS = np.stack((INSIDE, 0.8 * (TONGUE - INSIDE), TEETH), axis=1)  # of what shares of them make
PARTED = 0.25  # rows between the lips: from there on the inside shows
EDGE = 1.5  # rows in which the teeth end
SHADE = 0.06  # of a tooth's brightness, that it gains with each row below the upper lip
# What the parts of the inside gain with each row, in the order of `_Lips.inside`.
INSIDE_SLOPES = np.array([1, -1, -1 / EDGE, SHADE, 0, 0, 0], np.float32)[:, None, None]

STILL = 0.02  # smaller shapes are not drawn


def draw(mouth: Mouth, shape: Shape, out: Bgr) -> None:
    """Write the face with its mouth in a shape into `out`, (256, 256, 3) BGR."""
    opening, width = shape.opening, shape.width
    np.copyto(out, mouth.face)
    if opening < STILL and abs(width) < STILL:
        return
    left, top, right, bottom = mouth.region
    spread = 1 + (SPREAD if width > 0 else PURSE) * width - NARROW * opening
    lips = _Lips.of(mouth, shape, spread)
    # columns - tall * (near * (1 - 1 / spread)), as a product of matrices: it writes just once.
    moved_x = mouth.tall @ np.array((mouth.near * np.float32(1 / spread - 1), mouth.columns))
    moved_y = _moved_rows(mouth, lips)
    picture = out[top:bottom, left:right]
    cv2.remap(mouth.face, moved_x, moved_y, cv2.INTER_LINEAR, dst=picture)
    _paint_inside(mouth, lips, picture)


class _Lips(NamedTuple):
    """The open mouth by columns: rows of the face, and what is linear in them."""

    upper: Floats  # edge of the upper lip
    lower: Floats
    low: Floats  # lower edge of the lower lip
    end: Floats  # from where on only the chin's move is left
    raised: Floats  # by how much the upper lip is
    fallen: Floats  # by how much the lower lip is
    above: Floats  # less a row's share in FADING: 0 where the upper lip's move has faded out
    inside: Floats  # (7, columns) for `_paint_inside`
    jaw: float  # how much the chin falls
    corner: float  # columns from the middle to where the lips begin to part

    @classmethod
    def of(cls, mouth: Mouth, shape: Shape, spread: float) -> _Lips:
        half, opening = mouth.half, shape.opening
        # The corners go down a little with the jaw or when pursed, the cheeks beside them less.
        sag = SAG * half * (opening + 0.8 * max(-shape.width, 0.0))
        lift, drop, reach = LIFT * half * opening, DROP * half * opening, 1 / (FADING * half)
        # Upper teeth belong to the skull: they stay where the lips rest, whatever the jaw does.
        teeth = half * (0.15 * shape.teeth - 0.02)
        # Each line's shares of `_curves`; those from `above` on are of 1, or grow with the rows.
        shares = (
            (1, sag, -lift, 0, 0),  # upper
            (1, sag, drop, 0, 0),  # lower
            (1, sag, drop, 0, LIP * half),  # low
            (1, 0, 0, 0, UNDER_LIP * half),  # end
            (0, -sag, lift, 0, 0),  # raised
            (0, sag, drop, 0, 0),  # fallen
            (-reach, -sag * reach, lift * reach, 0, 1.31),  # above
            (-1, -sag, lift, 0, 0),  # inside: rows below the upper lip
            (1, sag, drop, 0, 0),  # rows above the lower lip
            (1 / EDGE, sag / EDGE, 0, -0.2 * half / EDGE, teeth / EDGE + 0.5),  # teeth
            (-SHADE, -sag * SHADE, lift * SHADE, 0, 0.72),  # their shade
            (0, 0, 0, -1, 1.1),  # teeth, towards the corners
            (0, 0, 0, -1.6, 1.1),  # tongue, towards the corners
            (0, 0, 0, 0, 0),  # tongue, see _paint_inside
        )
        wide = 0.95 * spread
        lines = np.array(shares, np.float32) @ _curves(mouth, spread, wide)
        parted = max(1 - (PARTED / (lift + drop)) ** (1 / OVAL), 0) if opening > 0 else 0
        upper, lower, low, end, raised, fallen, above = lines[:7]
        jaw, corner = JAW * half * opening, wide * half * sqrt(parted)
        return cls(upper, lower, low, end, raised, fallen, above, lines[7:], jaw, corner)


def _curves(mouth: Mouth, spread: float, wide: float) -> Floats:
    """(5, columns) of which all others are sums, so that these take one product of matrices.

    Where the lips meet at rest, how much goes with the corners, how far the lips part, the place
    along the moved mouth squared (1 at its corners), and 1.
    """
    curves = mouth.curves.copy()
    rest, _, oval, side, _ = curves
    # Where the lips meet in the resting face that is shown in the column.
    shown = mouth.columns + mouth.near * np.float32(1 / spread - 1)
    rest[:] = np.interp(shown, mouth.columns, mouth.line)
    np.square(mouth.across * np.float32(1 / wide), out=side)
    np.power(np.maximum(1 - side, 0), np.float32(OVAL), out=oval)
    return curves


def _moved_rows(mouth: Mouth, lips: _Lips) -> Floats:
    """The row of the resting face that each pixel shows: (rows, columns) float32.

    Above and below the lips' meeting are two smooth fields, made on the mouth's sparse rows.
    """
    top, sparse = mouth.region[1] - SPARSE, mouth.sparse
    middle = (lips.upper + lips.lower) / 2
    # Where the two meet, and one place more for each to be sure of its edge.
    first = min(max(int(middle.min() - top) // SPARSE - 1, 0), len(sparse) - 1)
    last = min(max(int(middle.max() - top) // SPARSE + 2, first + 1), len(sparse))
    share = np.empty((last + len(sparse) - first, len(middle)), np.float32)
    above, below = share[:last], share[last:]
    np.add(lips.above, sparse[:last] * (1 / (FADING * mouth.half)), out=above)
    # What the lip moves more than the chin fades out between them.
    end = np.minimum(lips.end, FACE_SIZE - MARGIN / 2)
    np.subtract(end, sparse[first:], out=below)
    below *= 1 / np.maximum(end - lips.low, 1)
    share = rise(share)
    above, below = share[:last], share[last:]
    above *= lips.raised
    above += sparse[:last]
    jaw = mouth.chin[first:] * np.float32(lips.jaw)
    below *= lips.fallen - jaw
    below += jaw
    np.subtract(sparse[first:], below, out=below)
    return _joined(above, below, first, top, middle)[SPARSE:][: len(mouth.rows)]


def _joined(above: Floats, below: Floats, first: int, top: int, middle: Floats) -> Floats:
    """All rows from `top` on: over the middle those of `above`, under it of `below`.

    Both are of sparse rows, `below` from the `first` on.
    """
    start, end, columns = SPARSE * first, SPARSE * len(above), len(middle)
    whole = np.empty((start + SPARSE * len(below), columns), np.float32)
    cv2.resize(above, (columns, end), dst=whole[:end])
    kept = whole[start:end].copy()
    cv2.resize(below, (columns, SPARSE * len(below)), dst=whole[start:])
    rows = np.arange(top + start, top + end, dtype=np.float32)[:, None]
    np.copyto(whole[start:end], kept, where=rows < middle)
    return whole


def _paint_inside(mouth: Mouth, lips: _Lips, picture: Bgr) -> None:
    """The inside of the mouth, between the lips of the moved picture."""
    left, top, *_ = mouth.region
    begin = max(ceil(mouth.middle - lips.corner) - left, 0)
    end = int(mouth.middle + lips.corner) + 1 - left
    if end <= begin:
        return
    across = np.s_[begin:end]
    upper, lower = lips.upper[across], lips.lower[across]
    down = np.s_[max(ceil(upper.min()) - top, 0) : ceil(lower.max()) - top]
    rows = mouth.rows[down]
    if not len(rows):
        return
    parts = lips.inside[:, None, across] + INSIDE_SLOPES * rows
    cover, over, teeth, shade, teeth_side, tongue_side, tongue = parts
    # The tongue lies in the lower part, however wide it is.
    np.multiply(cover, 3.75 / np.maximum(lower - upper, 1), out=tongue)
    tongue -= 2.25
    np.clip(parts, 0, 1, out=parts)
    cover *= over
    teeth *= teeth_side
    shade *= teeth
    hidden = 1 - teeth
    tongue *= tongue_side
    tongue *= hidden
    inside = cv2.transform(cv2.merge((hidden, tongue, shade)), COLOURS)
    under = picture[down, across].astype(np.float32)
    mixed = cv2.blendLinear(inside, under, cover, 1 - cover)
    picture[down, across] = cv2.convertScaleAbs(mixed)  # rounded
