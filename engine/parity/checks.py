"""All checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.parity import network_checks as networks
from engine.parity import picture_checks as pictures
from engine.parity import sound_checks as sound
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

    A check whose own code raises has failed, and one whose file or array is missing or damaged
    could not run; the others still do.

    Raises:
        BrokenVectors: there is no such folder, or nothing in it could be read.
    """
    if not folder.is_dir():
        raise BrokenVectors(f"{folder} is not a folder.")
    unread: list[BrokenVectors] = []
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            yield from check(folder)
        except BrokenVectors as error:
            unread.append(error)
            yield Result(name, np.inf, 0.0, f"could not run: {error}", ran=False)
        except Exception as error:
            yield Result(name, np.inf, 0.0, f"{type(error).__name__}: {error}")
    if len(unread) == len(CHECKS):
        raise unread[0]
