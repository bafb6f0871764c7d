"""`engine.blend` on a GPU: the faces of a batch, of any personas, pasted in one launch.

Only the regions that faces can change lie on the device, and only these come back, already as
I420: half the bytes of BGR, and the host has just to put three planes into the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
from numpy.typing import NDArray
from torch import Tensor

from engine.blend import FULL, Region, even, painted_region, place_i420
from engine.models.triton_blend import blend_patches
from engine.persona import Persona
from engine.types import FACE_SIZE, Picture

FIELDS = 10  # numbers that the kernel reads of each job
QUADS = 128  # pixels by four that a program takes


@dataclass(frozen=True, slots=True)
class Paste:
    """What is to be done with a face."""

    persona: Persona
    tick: int
    weight: int = FULL  # less than 256 lets the persona's own mouth through


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a frame of a persona changes: what lies on the device, and the kernel's numbers."""

    below: Tensor  # (rows * columns * 3,) uint8
    mask: Tensor  # (rows * columns,) uint8
    region: Region
    box: tuple[int, int, int, int]  # left, top, width, height; in the region's coordinates

    @property
    def size(self) -> int:
        """Bytes of its I420 patch."""
        left, top, right, bottom = self.region
        return (right - left) * (bottom - top) * 3 // 2

    def row(self, first: int, weight: int) -> tuple[int, ...]:
        left, top, right, bottom = self.region
        places = (self.below.data_ptr(), self.mask.data_ptr(), first)
        return (*places, right - left, bottom - top, *self.box, weight)


class GpuBlender:
    """Pastes batches of faces. Used by one thread; `engine.blend.Canvas` is what it equals.

    OpenCV may round a resized pixel otherwise: pictures differ by a level at most.
    """

    def __init__(self, device: torch.device, block: int = QUADS) -> None:
        """`block`: pixels by four that a program takes, a power of two."""
        self._device = device
        self._block = block
        self._spots: dict[str, list[_Spot]] = {}

    def admit(self, persona: Persona) -> None:
        """Bring the changing regions of all its frames to the device."""
        if persona.key not in self._spots:
            spots = [self._spot(persona, index) for index in range(len(persona.frames))]
            self._spots[persona.key] = spots

    def launch(self, faces: Tensor, pastes: Sequence[Paste]) -> Tensor:
        """I420 patches of a batch, one after the other, on the device.

        Args:
            faces: (≥ len(pastes), 256, 256, 3) uint8 BGR, contiguous, on the device.
            pastes: of admitted personas.
        """
        spots = [self._of(paste) for paste in pastes]
        ends = np.cumsum([spot.size for spot in spots]).tolist()
        rows = [
            spot.row(end - spot.size, paste.weight)
            for spot, paste, end in zip(spots, pastes, ends, strict=True)
        ]
        table = torch.tensor(rows, dtype=torch.int64).to(self._device, non_blocking=True)
        patches = torch.empty(ends[-1], dtype=torch.uint8, device=self._device)
        quads = max(spot.size for spot in spots) // 6
        grid = (len(spots), max(1, triton.cdiv(quads, self._block)))
        blend_patches[grid](table, faces, patches, FIELDS=FIELDS, SIDE=FACE_SIZE, BLOCK=self._block)
        return patches

    def finish(self, patches: Tensor, pastes: Sequence[Paste]) -> list[Picture]:
        """The pictures of a batch: waits for its patches, and puts them into the frames."""
        host: NDArray[np.uint8] = patches.cpu().numpy()
        pictures, first = [], 0
        for paste in pastes:
            spot = self._of(paste)
            persona = paste.persona
            picture: Picture = np.array(persona.pictures[persona.source(paste.tick)])
            patch = host[first : first + spot.size]
            place_i420(picture, persona.width, persona.height, patch, spot.region)
            pictures.append(picture)
            first += spot.size
        return pictures

    def _of(self, paste: Paste) -> _Spot:
        return self._spots[paste.persona.key][paste.persona.source(paste.tick)]

    def _spot(self, persona: Persona, index: int) -> _Spot:
        box, square, mask = persona.boxes[index], persona.crops[index], persona.masks[index]
        region = even(painted_region(box, square, mask), persona.width, persona.height)
        left, top, right, bottom = region
        x1, y1, x2, y2 = (int(edge) for edge in box)
        x, y = int(square[0]), int(square[1])
        return _Spot(
            below=self._moved(persona.frames[index, top:bottom, left:right]),
            mask=self._moved(np.asarray(mask)[top - y : bottom - y, left - x : right - x]),
            region=region,
            box=(x1 - left, y1 - top, x2 - x1, y2 - y1),
        )

    def _moved(self, pixels: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.array(pixels).reshape(-1)).to(self._device)
