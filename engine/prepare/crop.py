"""The part of a video's frames that a persona shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.media.video import Bgr

Size = tuple[int, int]  # width, height


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a frame that is shown, and its output size."""

    x: int
    y: int
    width: int
    height: int
    size: Size

    def __call__(self, frame: Bgr) -> Bgr:
        part = frame[self.y : self.y + self.height, self.x : self.x + self.width]
        if part.shape[1::-1] == self.size:
            return np.ascontiguousarray(part)
        shrinks = self.size[0] < self.width
        way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(part, self.size, interpolation=way), np.uint8)

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Maps points (n, 2k) x, y, … from the frame to the output."""
        moved: NDArray[np.float64] = (points - np.resize([self.x, self.y], points.shape[1])) * (
            self.size[0] / self.width
        )
        return moved
