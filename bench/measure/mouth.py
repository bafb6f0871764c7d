"""How far a mouth is open, from the brightness of the pixels around it.

An open mouth shows its inside, which is darker than lips and skin in any light. The opening is the
number of dark pixels around the mouth, less what the closed mouth has of them, as a share of the
square of the mouth's width: 0 when closed, some 0.1 to 0.4 in speech.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.measure.recording import Floats

Luma = NDArray[np.uint8]  # (height, width) brightness, the first plane of an I420 picture


@dataclass(frozen=True, slots=True)
class MouthRegion:
    """The part of the picture in which the mouth stays while the head moves."""

    left: int
    top: int
    right: int
    bottom: int
    mouth_width: float  # pixels

    @classmethod
    def of(cls, mouths: NDArray[np.float32], width: int, height: int) -> MouthRegion:
        """Around all (n, 4) mouths of a persona: centre x, y, half width, tilt."""
        half = float(np.median(mouths[:, 2]))
        low, high = mouths[:, :2].min(axis=0), mouths[:, :2].max(axis=0)
        # Wide enough for the corners; above only to the upper lip, since nostrils are dark too;
        # below as far as a wide open jaw goes.
        return cls(
            left=max(0, round(float(low[0]) - 1.1 * half)),
            top=max(0, round(float(low[1]) - 0.5 * half)),
            right=min(width, round(float(high[0]) + 1.1 * half)),
            bottom=min(height, round(float(high[1]) + 1.1 * half)),
            mouth_width=2 * half,
        )

    def crop(self, luma: Luma) -> Luma:
        """A copy of this part."""
        return luma[self.top : self.bottom, self.left : self.right].copy()


def openings(crops: NDArray[np.uint8], closed: NDArray[np.uint8], region: MouthRegion) -> Floats:
    """(n,) openings of (n, height, width) crops, given crops of the closed mouth to compare."""
    threshold = dark_level(closed)
    at_rest = float(np.median(_dark(closed, threshold)))
    excess = np.maximum(_dark(crops, threshold) - at_rest, 0.0)
    opened: Floats = excess / region.mouth_width**2
    return opened


def dark_level(closed: NDArray[np.uint8]) -> float:
    """Brightness under which a pixel counts as the inside of the mouth.

    Half of what is usual around the closed mouth: under lips and shadows, above the inside.
    """
    return float(np.median(closed)) / 2


def _dark(crops: NDArray[np.uint8], threshold: float) -> Floats:
    dark: Floats = np.count_nonzero(crops < threshold, axis=(1, 2)).astype(np.float64)
    return dark
