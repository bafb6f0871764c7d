"""`engine.picture.blend` on a GPU: the faces of a batch, of any personas, pasted in one launch.

Only the regions that faces can change lie on the device, and only these come back, already as
I420: half the bytes of BGR, and the host has just to put three planes into the picture.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from engine.core.persona import Persona
from engine.core.types import FACE_SIZE
from engine.models.triton_blend import blend_patches
from engine.picture.blend import Paste, Patch, Region, even, painted_region

FIELDS = 10  # numbers that the kernel reads of each job
QUADS = 128  # pixels by four that a program takes
KEPT = 2**30  # bytes of the device's memory for regions; 20 MB a persona of 512 x 512 and 7 s


@dataclass(frozen=True, slots=True)
class Patches:
    """Painted regions of a batch, as I420."""

    pixels: Tensor  # (n,) uint8 on the device: one after the other
    ends: list[int]  # where each ends

    def split(self, pixels: NDArray[np.uint8]) -> list[Patch]:
        """Each of them, where `pixels` begin with a copy of them on the host."""
        return np.split(pixels[: self.ends[-1]], self.ends[:-1])


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a frame of a persona changes, and the kernel's numbers."""

    below: int  # address of (rows * columns * 3,) uint8 on the device
    mask: int  # address of (rows * columns,) uint8
    region: Region
    box: tuple[int, int, int, int]  # left, top, width, height; in the region's coordinates

    @property
    def size(self) -> int:
        """Bytes of its I420 patch."""
        left, top, right, bottom = self.region
        return (right - left) * (bottom - top) * 3 // 2

    def row(self, first: int, weight: int) -> tuple[int, ...]:
        left, top, right, bottom = self.region
        size = right - left, bottom - top
        return (self.below, self.mask, first, *size, *self.box, weight)


@dataclass(frozen=True, slots=True)
class _Spots:
    """Of all frames of a persona; what they point to."""

    spots: list[_Spot]
    pixels: Tensor


class GpuBlender:
    """Pastes batches of faces; `engine.picture.blend.Canvas` is what it equals.

    OpenCV may round a resized pixel otherwise: pictures differ by a level at most. Personas are
    admitted on any thread; batches are launched on one. Of personas that were not used for long,
    those beyond KEPT bytes are forgotten.
    """

    def __init__(self, device: torch.device, block: int = QUADS) -> None:
        """`block`: pixels by four that a program takes, a power of two."""
        self._device = device
        self._block = block
        self._spots: OrderedDict[str, _Spots] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, persona: Persona) -> None:
        """Bring the changing regions of all its frames to the device."""
        if persona.key in self._spots:
            return
        moved = self._moved(persona)
        with self._lock:
            self._spots[persona.key] = moved
            while len(self._spots) > 1 and self._held() > KEPT:
                self._spots.popitem(last=False)

    def launch(self, faces: Tensor, pastes: Sequence[Paste]) -> Patches | None:
        """Paste a batch on the current stream.

        Args:
            faces: (≥ len(pastes), 256, 256, 3) uint8 BGR, contiguous, on the device.
            pastes: at least one.

        Returns:
            None if a persona is not admitted (any more).
        """
        with self._lock:  # until the kernel is under way nothing that it reads is let go
            spots = self._of(pastes)
            if spots is None:
                return None
            ends = np.cumsum([spot.size for spot in spots]).tolist()
            rows = [
                spot.row(end - spot.size, paste.weight)
                for spot, paste, end in zip(spots, pastes, ends, strict=True)
            ]
            table = torch.tensor(rows, dtype=torch.int64).to(self._device, non_blocking=True)
            patches = torch.empty(ends[-1], dtype=torch.uint8, device=self._device)
            quads = max(spot.size for spot in spots) // 6
            grid = (len(spots), max(1, triton.cdiv(quads, self._block)))
            blend_patches[grid](
                table, faces, patches, FIELDS=FIELDS, SIDE=FACE_SIZE, BLOCK=self._block
            )
        return Patches(patches, ends)

    def _of(self, pastes: Sequence[Paste]) -> list[_Spot] | None:
        """None if a persona is not admitted."""
        if any(paste.persona.key not in self._spots for paste in pastes):
            return None
        for paste in pastes:
            self._spots.move_to_end(paste.persona.key)
        return [
            self._spots[paste.persona.key].spots[paste.persona.source(paste.tick)]
            for paste in pastes
        ]

    def _held(self) -> int:
        return sum(spots.pixels.numel() for spots in self._spots.values())

    def _moved(self, persona: Persona) -> _Spots:
        """One copy to the device for all frames: each costs the host some microseconds."""
        places = [_place(persona, index) for index in range(len(persona.frames))]
        pixels = torch.from_numpy(np.concatenate([part for *_, parts in places for part in parts]))
        moved = pixels.to(self._device)
        spots, address = [], moved.data_ptr()
        for region, box, (below, mask) in places:
            spots.append(_Spot(address, address + below.size, region, box))
            address += below.size + mask.size
        return _Spots(spots, moved)


def _place(
    persona: Persona, index: int
) -> tuple[Region, tuple[int, int, int, int], tuple[Patch, Patch]]:
    """The region of a frame that can change, the face's box in it, its pixels and its mask."""
    box, square, mask = persona.boxes[index], persona.crops[index], persona.masks[index]
    region = even(painted_region(box, square, mask), persona.width, persona.height)
    left, top, right, bottom = region
    x1, y1, x2, y2 = (int(edge) for edge in box)
    x, y = int(square[0]), int(square[1])
    below = np.array(persona.frames[index, top:bottom, left:right]).reshape(-1)
    weights = np.array(mask)[top - y : bottom - y, left - x : right - x].reshape(-1)
    return region, (x1 - left, y1 - top, x2 - x1, y2 - y1), (below, weights)
