"""All checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.parity import networks, pictures, sound
from engine.parity.vectors import BrokenVectors, Result

Check = Callable[[Path], Iterator[Result]]

CHECKS: tuple[Check, ...] = (
    sound.audio_windows,
    networks.device_windows,
    sound.positions,
    networks.device_places,
    sound.log_mel,
    networks.device_mel,
    pictures.images,
    networks.device_faces,
    pictures.face_boxes,
    pictures.parser_masks,
    pictures.blending,
    pictures.cycle,
    networks.avatar_preparation,
    networks.tiny_end_to_end,
)


def compare(folder: Path) -> Iterator[Result]:
    """Results of every check, as they come.

    A check whose own code raises has failed; the others still run.

    Raises:
        BrokenVectors: the folder, or a file or array of it, is missing or damaged.
    """
    if not folder.is_dir():
        raise BrokenVectors(f"{folder} is not a folder.")
    for check in CHECKS:
        try:
            yield from check(folder)
        except BrokenVectors:
            raise
        except Exception as error:
            name = check.__name__.replace("_", " ")
            yield Result(name, np.inf, 0.0, f"{type(error).__name__}: {error}")
