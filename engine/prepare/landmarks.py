"""The 68 points of a face, from DWPose through ONNX Runtime (musetalk.md §2, items 2 to 4).

The whole picture is taken as one person, as upstream does; its keypoints 23 to 90 are the face's.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.media.video import Bgr
from engine.musetalk.boxes import face_boxes
from engine.prepare.faces import Box, FaceFinder
from engine.prepare.onnx_networks import open_session

WIDTH, HEIGHT = 288, 384
PADDING = 1.25  # of the person's box, by which it is enlarged
MEAN = np.array([123.675, 116.28, 103.53], np.float32)  # RGB
STD = np.array([58.395, 57.12, 57.375], np.float32)
SPLIT = 2.0  # bins of the answer a pixel of the input
FACE = slice(23, 91)  # of the 133 keypoints of a body

LEAST_SCORE = 0.3  # mean of the points', below which there is no face
NOT_FOUND = -1

# Where each point lies in a mirrored face: jaw, brows, nose, eyes, mouth.
MIRRORED = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *range(54, 47, -1),
        *range(59, 54, -1),
        *range(64, 59, -1),
        *range(67, 64, -1),
    ]
)


class Landmarks:
    """DWPose, loaded."""

    def __init__(self, path: Path) -> None:
        """Raises BackendUnavailable: the file is damaged, or no such network."""
        self._run = open_session(path, (1, 3, HEIGHT, WIDTH))

    def __call__(self, frame: Bgr) -> tuple[NDArray[np.float64], float]:
        """(68, 2) points x, y in pixels of the frame, and how sure they are, 0 … about 1."""
        height, width = frame.shape[:2]
        scale = min(WIDTH / width, HEIGHT / height) / PADDING
        corner = (WIDTH - scale * width) / 2, (HEIGHT - scale * height) / 2
        placed = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        image = cv2.warpAffine(frame, placed, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        planes = ((image[..., ::-1] - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
        across, down = self._face(planes)
        # The mirrored picture votes, too.
        other_across, other_down = self._face(np.ascontiguousarray(planes[..., ::-1]))
        across += other_across[MIRRORED, ::-1]
        down += other_down[MIRRORED]
        bins = np.stack([across.argmax(axis=1), down.argmax(axis=1)], axis=1)
        score = np.minimum(across.max(axis=1), down.max(axis=1)).mean() / 2
        return (bins / SPLIT - corner) / scale, float(score)

    def _face(self, planes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """How likely each point lies in each column (68, 576) and each row (68, 768)."""
        across, down = self._run(planes)[:2]
        return across[0, FACE], down[0, FACE]


class LandmarkFinder(FaceFinder):
    """Finds the face by its landmarks; its boxes are upstream's, unless they are to be smooth."""

    def __init__(
        self, landmarks: Landmarks, video: str, bbox_shift: float, *, smooth: bool
    ) -> None:
        super().__init__(video, bbox_shift, smooth=smooth)
        self._landmarks = landmarks

    def _locate(self, frame: Bgr, number: int) -> Box | None:
        points, score = self._landmarks(frame)
        low, high = points.min(axis=0), points.max(axis=0)
        seen = [*low, *high] if score >= LEAST_SCORE else [NOT_FOUND] * 4
        detected = np.array([seen]).astype(np.int32)
        found = face_boxes(points[None], detected, round(self._shift))
        box: Box = found[0].astype(np.float64)
        if not box.any():
            return None
        self._check(box, float(box[3] - box[1]), frame, number)
        return box
