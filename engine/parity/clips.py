"""Jobs of a whole clip, for checks and measurements in which no persona's pictures take part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.features import Hearing
from engine.audio.speech import Speech
from engine.core.persona import Persona
from engine.core.types import FrameJob, Pcm
from engine.musetalk.windows import picture_count


def blank_persona(boxes: NDArray[np.int32], folder: Path) -> Persona:
    """A persona of one gray frame a box, just large enough."""
    width, height = (int(boxes[:, i].max(initial=0)) for i in (2, 3))
    return Persona(
        name="",
        display_name="",
        key="",
        folder=folder,
        frames=np.full((len(boxes), height, width, 3), 128, np.uint8),
        pictures=np.zeros((len(boxes), 0), np.uint8),
        boxes=boxes,
        crops=boxes,
        mouths=boxes.astype(np.float32),
        masks=(),
        settings={},
    )


_NOBODY = blank_persona(np.zeros((0, 4), np.int32), Path())


def clip_jobs(
    pcm: Pcm, hearing: Hearing, *, stream: int = 0, segment: int = 0
) -> Iterator[FrameJob]:
    """The jobs of every picture of a clip, each with the sound that its stream knows by then.

    As many pictures as the reference makes of the clip; a stream that ends also shows what is left
    of its last 40 ms.
    """
    speech = Speech(hearing.left_context, hearing.lookahead)
    speech.push(pcm)
    speech.end_segment()
    for frame in range(picture_count(len(pcm))):
        window = speech.window(frame)
        yield FrameJob(
            stream=stream,
            generation=0,
            tick=frame,
            due=frame,
            persona=_NOBODY,
            audio=window.audio,
            segment=segment,
            frame=window.frame,
            unheard=window.unheard,
        )
