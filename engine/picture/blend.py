"""Paste a painted face into its persona's frame (musetalk.md §3.2), straight into an I420 picture.

Only the region that the mask lets through is changed. Outside it, blending returns the frame's own
pixels exactly, so the persona's prepared picture is used unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.core.persona import Persona
from engine.core.types import Picture

Bgr = NDArray[np.uint8]  # (height, width, 3)
Mask = NDArray[np.uint8]  # (height, width)
Patch = NDArray[np.uint8]  # (n,) an even region as I420
Part = tuple[slice, slice]  # rows, columns
Region = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom excluded

FULL = 256
"""Weight of a face that is pasted as the mask says."""


HALF = 128
"""Rounding term, added before weighted levels are divided by 255."""

KEPT = 2**26
"""Bytes of a persona's cached frames, ready for pasting; 7 s at 512 x 512 take 40 MB. Other frames
are made ready each time, which costs a tenth of a picture's time."""


@dataclass(frozen=True, slots=True)
class Paste:
    """Where and how to paste a face."""

    persona: Persona
    tick: int
    weight: int = FULL  # less than 256 lets the persona's own mouth through


def painted_region(box: Sequence[int], square: Sequence[int], mask: Mask) -> Region:
    """The part of the frame that a face can change: the intersection of box and mask.

    Args:
        box: x1, y1, x2, y2 of the face, inside the frame.
        square: the same for the mask; may exceed the frame.
        mask: has the square's size.
    """
    x1, y1, x2, y2 = (int(edge) for edge in box)
    left, top = int(square[0]), int(square[1])
    within = np.asarray(mask)[y1 - top : y2 - top, x1 - left : x2 - left]
    columns, rows = np.flatnonzero(within.any(axis=0)), np.flatnonzero(within.any(axis=1))
    if not len(columns):
        return (0, 0, 0, 0)
    region = (x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1)
    return (int(region[0]), int(region[1]), int(region[2]), int(region[3]))


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A region of a frame, and everything about a paste that does not depend on the face."""

    size: tuple[int, int]  # width, height of the face in the frame
    seen: Part  # rows and columns of the face that lie in the region
    place: Part  # their position in the region
    weight: NDArray[np.uint8]  # (rows, columns, 3) 255 shows only the face
    below: NDArray[np.uint16]  # (rows, columns, 3) the frame's share, plus the rounding term

    @classmethod
    def of(
        cls, frame: Bgr, box: Sequence[int], square: Sequence[int], mask: Mask, region: Region
    ) -> Ground:
        """`region` must lie inside the frame; the other arguments are as in `painted_region`."""
        left, top, right, bottom = region
        x1, y1, x2, y2 = (int(edge) for edge in box)
        offset_x, offset_y = int(square[0]), int(square[1])
        low_x, low_y = max(left, x1), max(top, y1)
        high_x, high_y = min(right, x2), min(bottom, y2)
        place = np.s_[low_y - top : high_y - top, low_x - left : high_x - left]
        one = np.zeros((bottom - top, right - left), np.uint8)
        one[place] = mask[
            low_y - offset_y : high_y - offset_y, low_x - offset_x : high_x - offset_x
        ]
        weight = np.asarray(cv2.merge((one, one, one)), np.uint8)
        below = np.subtract(255, weight, dtype=np.uint16)
        below *= frame[top:bottom, left:right]
        below += HALF
        seen = np.s_[low_y - y1 : high_y - y1, low_x - x1 : high_x - x1]
        return cls((x2 - x1, y2 - y1), seen, place, weight, below)

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes + self.below.nbytes

    def with_face(self, face: Bgr) -> Bgr:
        """The region with a face (256, 256, 3) pasted in, exactly as Pillow pastes."""
        sized = cv2.resize(face, self.size, interpolation=cv2.INTER_LINEAR)
        total = np.empty_like(self.below)  # undefined outside the face, where the weight is 0
        total[self.place] = sized[self.seen]
        total *= self.weight
        total += self.below
        total += total >> 8
        total >>= 8
        return total.astype(np.uint8)


def blended(
    frame: Bgr, face: Bgr, box: Sequence[int], square: Sequence[int], mask: Mask, region: Region
) -> Bgr:
    """A region of the frame with the face pasted in.

    Args:
        face: (256, 256, 3) the painted face, in the coordinates of the box.
        region: must lie inside the frame.
    """
    return Ground.of(frame, box, square, mask, region).with_face(face)


def even(region: Region, width: int, height: int) -> Region:
    """The region extended to whole chroma samples: even edges, inside the frame."""
    left, top, right, bottom = region
    return (left & ~1, top & ~1, min((right + 1) & ~1, width), min((bottom + 1) & ~1, height))


def put_i420(picture: Picture, width: int, height: int, patch: Bgr, region: Region) -> None:
    """Overwrite an even region of an I420 picture with BGR pixels."""
    converted = cv2.cvtColor(patch, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    place_i420(picture, width, height, np.asarray(converted, np.uint8), region)


def place_i420(picture: Picture, width: int, height: int, patch: Patch, region: Region) -> None:
    """Overwrite an even region of an I420 picture."""
    left, top, right, bottom = region
    columns, rows = right - left, bottom - top
    luma, size = columns * rows, width * height
    picture[:size].reshape(height, width)[top:bottom, left:right] = patch[:luma].reshape(
        rows, columns
    )
    half = np.s_[:, top // 2 : bottom // 2, left // 2 : right // 2]
    planes = picture[size:].reshape(2, height // 2, width // 2)
    planes[half] = patch[luma:].reshape(2, rows // 2, columns // 2)


class Canvas:
    """A persona to paint on; caches the changing region of each frame, ready for pasting."""

    def __init__(self, persona: Persona, kept: int = KEPT) -> None:
        """`kept`: maximum bytes of frames that are kept ready."""
        # Plain views: slicing a memmap object is slow.
        self._frames: NDArray[np.uint8] = np.asarray(persona.frames)
        self._pictures: NDArray[np.uint8] = np.asarray(persona.pictures)
        self._persona = persona
        self._regions: dict[int, Region] = {}
        self._grounds: dict[int, Ground] = {}
        self._room = kept

    def picture(self, tick: int, face: Bgr, weight: int = FULL) -> Picture:
        """A new picture of a tick with the face pasted in.

        Args:
            face: (256, 256, 3) BGR, in the coordinates of the persona's box.
            weight: 0 … 256; less than 256 lets the persona's own mouth through.
        """
        persona, index = self._persona, self._persona.source(tick)
        picture: Picture = self._pictures[index].copy()
        region = self._region(index)
        if region[0] == region[2] or region[1] == region[3] or weight <= 0:
            return picture
        patch = self._ground(index, weight).with_face(face)
        put_i420(picture, persona.width, persona.height, patch, region)
        return picture

    def placed(self, tick: int, patch: Patch) -> Picture:
        """A new picture of a tick, with its painted region as computed by a device."""
        persona, index = self._persona, self._persona.source(tick)
        picture: Picture = self._pictures[index].copy()
        place_i420(picture, persona.width, persona.height, patch, self._region(index))
        return picture

    def _ground(self, index: int, weight: int) -> Ground:
        if weight >= FULL and index in self._grounds:
            return self._grounds[index]
        persona, mask = self._persona, np.asarray(self._persona.masks[index])
        if weight < FULL:
            mask = ((mask.astype(np.uint16) * weight) >> 8).astype(np.uint8)
        box, square = persona.boxes[index], persona.crops[index]
        ground = Ground.of(self._frames[index], box, square, mask, self._region(index))
        if weight >= FULL and ground.nbytes <= self._room:
            self._room -= ground.nbytes
            self._grounds[index] = ground
        return ground

    def _region(self, index: int) -> Region:
        if index not in self._regions:
            persona = self._persona
            region = painted_region(
                persona.boxes[index], persona.crops[index], persona.masks[index]
            )
            self._regions[index] = even(region, persona.width, persona.height)
        return self._regions[index]
