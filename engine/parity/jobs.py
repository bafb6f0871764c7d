"""Personas and jobs for checks: as preparation and streams make them, without their pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.features import Hearing
from engine.persona import Persona
from engine.types import SAMPLES_PER_FRAME, FrameJob


def persona_of(boxes: NDArray[np.int32], folder: Path) -> Persona:
    """A persona of one gray frame a box, just large enough."""
    width, height = (int(boxes[:, i].max(initial=0)) for i in (2, 3))
    frames = np.full((len(boxes), height, width, 3), 128, np.uint8)
    return Persona(
        name="",
        display_name="",
        key="",
        folder=folder,
        frames=frames,
        pictures=np.zeros((len(boxes), 0), np.uint8),
        boxes=boxes,
        crops=boxes,
        mouths=boxes.astype(np.float32),
        masks=(),
        settings={},
    )


# What hears and what schedules doesn't look at a persona.
_NOBODY = persona_of(np.zeros((0, 4), np.int32), Path())


def clip_job(frame: int, samples: int, hearing: Hearing) -> FrameJob:
    """The job of a picture of a silent clip of so many samples."""
    length = hearing.left_context + SAMPLES_PER_FRAME + hearing.lookahead
    known = SAMPLES_PER_FRAME * (frame + 1) + hearing.lookahead
    return FrameJob(
        stream=0,
        generation=0,
        tick=frame,
        due=frame,
        persona=_NOBODY,
        audio=np.zeros(length, np.int16),
        frame=frame,
        unheard=max(0, known - samples),
    )
