"""A persona's mouths at rest: where they are in the 256 x 256 face, and how their lips meet."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.core.persona import Persona
from engine.core.types import FACE_SIZE
from engine.musetalk.image import crop_face

Bgr = NDArray[np.uint8]
Floats = NDArray[np.floating]

# Shares of the mouth's half width.
REACH = 2.1  # to either side of the middle: what moves
ABOVE = 1.15  # over it
CHIN = 1.3  # under it: there ends what moves wholly, below is the neck
SEARCH = 0.3  # over and under the straight line between the corners: where the lips may meet

MARGIN = 12  # rows at least at the face's end in which every move fades out
# Moves downwards are smooth: they are reckoned for every so many rows, in their middle, and once
# more on either side of the region, so that each row lies between two such places.
SPARSE = 4

LOOKED_AT = 9  # frames of a persona from which the lips' bend is learnt
ALONG = np.linspace(-1, 1, 41)  # where along the mouth


@dataclass(frozen=True, slots=True, eq=False)
class Mouth:
    """One face at rest, and what of its movement doesn't depend on the sound."""

    face: Bgr  # (256, 256, 3)
    region: tuple[int, int, int, int]  # left, top, right, bottom of what moves
    half: float  # half width of the mouth, pixels
    rows: Floats  # (rows, 1) of the region
    sparse: Floats  # (rows / SPARSE + 2, 1) where moves downwards are reckoned
    columns: Floats  # (columns,)
    middle: float  # column of the mouth's middle
    across: Floats  # (columns,) place along the mouth, -1 and 1 at its corners
    line: Floats  # (columns,) row where the lips meet
    curves: Floats  # (5, columns) as of warp_mouth._curves, what doesn't depend on the sound
    near: Floats  # (columns,) pixels that the lips would move if the mouth were twice as wide
    tall: Floats  # (rows, 2) how much goes with the lips sideways, 0 … 1; and 1
    chin: Floats  # (of `sparse`, columns) how much goes with the chin downwards, 0 … 1

    @classmethod
    def of(cls, persona: Persona, index: int, bend: Floats) -> Mouth:
        """The mouth of a persona's frame; `bend` as `lip_bend` says."""
        x, y, half, slope = _place(persona, index)
        left, right = max(0, round(x - REACH * half)), min(FACE_SIZE, round(x + REACH * half))
        top = max(0, round(y - ABOVE * half))
        columns = np.arange(left, right, dtype=np.float32)
        rows = np.arange(top, FACE_SIZE, dtype=np.float32)[:, None]
        sparse = np.arange(top - SPARSE, FACE_SIZE + SPARSE, SPARSE, dtype=np.float32)[:, None]
        sparse += (SPARSE - 1) / 2
        across = (columns - np.float32(x)) / np.float32(half)
        line = y + half * (slope * across + np.interp(across, ALONG, bend))
        # Short of the cheeks' outline, which must stay.
        near = fade((np.abs(across) - 0.85) / 0.6) * across * half
        jaw = np.square(np.cos(np.pi / 2 * np.minimum(np.abs(across) / REACH, 1)))
        low = np.minimum(line + CHIN * half, FACE_SIZE - MARGIN)
        beside = np.square(np.sin(np.pi / 2 * np.minimum(np.abs(across), 2))).astype(np.float32)
        nothing = np.zeros_like(columns)
        tall = np.exp(-np.square((rows - y) / (0.5 * half))).astype(np.float32)
        return cls(
            face=crop_face(persona.frames[index], persona.boxes[index]),
            region=(left, top, right, FACE_SIZE),
            half=half,
            rows=rows,
            sparse=sparse,
            columns=columns,
            middle=x,
            across=across,
            line=line.astype(np.float32),
            curves=np.stack((nothing, beside, nothing, nothing, nothing + 1)),
            near=near.astype(np.float32),
            tall=np.hstack([tall, np.ones_like(tall)]),
            chin=(jaw * fade((sparse - low) / (FACE_SIZE - 1 - low))).astype(np.float32),
        )


def lip_bend(persona: Persona) -> Floats:
    """(41,) how the lips' meeting departs from the straight line between the corners.

    In half widths, at ALONG; the median of some of the persona's frames, so that the line doesn't
    tremble from frame to frame.
    """
    count = len(persona.frames)
    chosen = np.unique(np.linspace(0, count - 1, LOOKED_AT).astype(int))
    middle = np.median(np.array([_darkest(persona, int(index)) for index in chosen]), axis=0)
    smooth: Floats = np.convolve(np.pad(middle, 2, mode="edge"), [0.1, 0.2, 0.4, 0.2, 0.1], "valid")
    return smooth


def fade(x: Floats) -> Floats:
    """1 below 0, 0 above 1, smooth between."""
    return rise(1 - x)


def rise(x: Floats) -> Floats:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(x, 0, 1)
    smooth: Floats = t * t
    t *= -2
    t += 3
    smooth *= t
    return smooth


def _place(persona: Persona, index: int) -> tuple[float, float, float, float]:
    """Mouth centre x, y, half width and slope in the face's pixels."""
    x1, y1, x2, y2 = (float(edge) for edge in persona.boxes[index])
    scale_x, scale_y = FACE_SIZE / (x2 - x1), FACE_SIZE / (y2 - y1)
    x, y, half, tilt = (float(value) for value in persona.mouths[index])
    slope = float(np.tan(tilt)) * scale_y / scale_x
    return (x - x1) * scale_x, (y - y1) * scale_y, half * scale_x, slope


def _darkest(persona: Persona, index: int) -> Floats:
    """Where the lips of a frame meet: it is darkest there, column by column."""
    x, y, half, slope = _place(persona, index)
    face = crop_face(persona.frames[index], persona.boxes[index])
    grey = cv2.GaussianBlur(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), (3, 3), 0)
    away = np.arange(-SEARCH, SEARCH, 1 / half)
    at_x = np.clip(x + ALONG * half, 0, FACE_SIZE - 1).astype(int)
    at_y = np.clip(y + half * (slope * ALONG + away[:, None]), 0, FACE_SIZE - 1).astype(int)
    found: Floats = away[grey[at_y, at_x].argmin(axis=0)]
    return found
