"""Pictures into and out of the autoencoder (§1.3, §2.6)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.core.types import FACE_SIZE, Faces

SCALING_FACTOR = 0.18215
"""Scale of the latents; absent from the published JSON, so diffusers' default applies."""

MASKED_FROM = FACE_SIZE // 2
"""First row that the masked half of the input blackens."""


def crop_face(frame: NDArray[np.uint8], box: Sequence[int]) -> NDArray[np.uint8]:
    """The face box of a BGR frame at 256 x 256, whatever its aspect ratio."""
    x1, y1, x2, y2 = (int(edge) for edge in box)
    size = (FACE_SIZE, FACE_SIZE)
    face: NDArray[np.uint8] = np.asarray(
        cv2.resize(frame[y1:y2, x1:x2], size, interpolation=cv2.INTER_LANCZOS4), np.uint8
    )
    return face


def vae_input(faces: Faces, *, masked: bool) -> NDArray[np.float32]:
    """RGB in -1 … 1 for the encoder: (n, 3, 256, 256).

    Args:
        faces: (n, 256, 256, 3) BGR.
        masked: rows 128 and below are black, which is what the network paints anew.
    """
    rgb = (faces[..., ::-1] / 255.0).astype(np.float32)
    planes = np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))
    if masked:
        planes[:, :, MASKED_FROM:] = 0.0
    scaled: NDArray[np.float32] = (planes - np.float32(0.5)) / np.float32(0.5)
    return scaled


def to_faces(decoded: NDArray[np.floating]) -> Faces:
    """BGR pictures (n, height, width, 3) of the decoder's output (n, 3, height, width).

    The affine step is computed in the type of `decoded`: in half precision it moves a level.
    NaN has no level; the caller looks for it before.
    """
    half = decoded.dtype.type(0.5)
    unit = (decoded * half + half).clip(0, 1).astype(np.float32)
    levels = np.rint(unit * np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1)[..., ::-1])
