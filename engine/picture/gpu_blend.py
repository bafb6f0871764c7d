"""`engine.picture.blend` on a GPU: pastes a batch of faces, of any personas, in one launch.

Only the regions that faces can change are kept on the device. They come back as I420: half the
bytes of BGR, and the host only has to copy three planes into the picture.
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

FIELDS = 10  # numbers that the kernel reads per job
QUADS = 128  # groups of four pixels per program
KEPT = 2**30  # bytes of device memory for regions; 20 MB for a persona of 7 s at 512 x 512


@dataclass(frozen=True, slots=True)
class Patches:
    """Painted regions of a batch, as I420."""

    pixels: Tensor  # (n,) uint8 on the device, one patch after another
    ends: list[int]  # where each ends

    def split(self, pixels: NDArray[np.uint8]) -> list[Patch]:
        """The single patches; `pixels` starts with their copy on the host."""
        return np.split(pixels[: self.ends[-1]], self.ends[:-1])


@dataclass(frozen=True, slots=True)
class _Spot:
    """The region of a frame that changes, and the kernel's numbers for it."""

    below: int  # address of (rows * columns * 3,) uint8 on the device
    mask: int  # address of (rows * columns,) uint8
    region: Region
    box: tuple[int, int, int, int]  # left, top, width, height; in the region's coordinates

    @property
    def size(self) -> int:
        """Bytes of the region's I420 patch."""
        left, top, right, bottom = self.region
        return (right - left) * (bottom - top) * 3 // 2

    def row(self, first: int, weight: int) -> tuple[int, ...]:
        left, top, right, bottom = self.region
        size = right - left, bottom - top
        return (self.below, self.mask, first, *size, *self.box, weight)


@dataclass(frozen=True, slots=True)
class _Spots:
    """The spots of all frames of a persona, and the memory that they point to."""

    spots: list[_Spot]
    pixels: Tensor


class GpuBlender:
    """Pastes batches of faces; equivalent to `engine.picture.blend.Canvas`.

    OpenCV may round a resized pixel differently: pictures differ by one level at most. Personas
    are admitted on any thread; batches are launched on one. Beyond KEPT bytes, the least recently
    used personas are dropped.
    """

    def __init__(self, device: torch.device, block: int = QUADS) -> None:
        """`block`: groups of four pixels per program, a power of two."""
        self._device = device
        self._block = block
        self._spots: OrderedDict[str, _Spots] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, persona: Persona) -> None:
        """Copies the changing regions of all frames to the device."""
        if persona.key in self._spots:
            return
        moved = self._moved(persona)
        with self._lock:
            self._spots[persona.key] = moved
            while len(self._spots) > 1 and self._held() > KEPT:
                self._spots.popitem(last=False)

    def launch(self, faces: Tensor, pastes: Sequence[Paste]) -> Patches | None:
        """Pastes a batch on the current CUDA stream.

        Args:
            faces: (≥ len(pastes), 256, 256, 3) uint8 BGR, contiguous, on the device.
            pastes: at least one.

        Returns:
            None if a persona is not, or no longer, admitted.
        """
        with self._lock:  # nothing that the kernel reads may be freed before it is launched
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
        """Copies all frames at once: each copy costs the host some microseconds."""
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
