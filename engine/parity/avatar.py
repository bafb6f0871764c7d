"""A persona prepared for comparison: real preparation of a plain video with given face boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from engine.core.persona import Persona
from engine.core.types import SAMPLE_RATE
from engine.media.video import Mp4Writer
from engine.prepare.build import MIN_FRAMES, prepare
from engine.prepare.settings import PersonaSettings

GRAY = 128

LEAST_BOX = 2
"""Pixels: upstream takes boxes of any size."""

REFERENCE_MARGIN = {"v15": 10, "v1": 0}
"""Pixels below the chin that are part of the reference's coordinates (musetalk.md §2, item 5)."""


def prepared(coords: NDArray[np.integer], version: str) -> Iterator[Persona]:
    """A persona for each of the reference's boxes (n, 4), as preparation leaves it.

    Preparation gets the box without its margin, as landmarks give it, and the usual settings.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        width, height = (int(coords[:, edge].max()) + 2 & ~1 for edge in (2, 3))
        video = _gray_video(folder / "gray.mp4", width, height)
        for x1, y1, x2, y2 in coords.tolist():
            margin = REFERENCE_MARGIN[version]
            room = y2 - y1 - LEAST_BOX  # less in a box that the frame's edge had cut short
            settings = PersonaSettings(
                video.name,
                face_box=(x1, y1, x2, y2 - min(margin, room)),
                display_name="gray",
                extra_margin=None if margin <= room else room,
                version=version,
            )
            yield prepare("gray", settings, video, folder / "cache", least_box=LEAST_BOX)


def _gray_video(path: Path, width: int, height: int) -> Path:
    picture = np.full(width * height * 3 // 2, GRAY, np.uint8)
    with Mp4Writer(path, width, height, SAMPLE_RATE) as file:
        for _ in range(MIN_FRAMES):
            file.picture(picture)
    return path
