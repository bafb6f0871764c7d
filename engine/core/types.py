"""The types and constants that the whole engine shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.core.persona import Persona

FPS = 25
"""Pictures per second. MuseTalk was trained at 25 and its audio alignment depends on it."""

SAMPLE_RATE = 16_000
"""Hz of the engine's mono int16 input."""

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640: the 40 ms of one picture
FRAME_S = 1 / FPS

FACE_SIZE = 256
"""Backends paint faces of 256 x 256 pixels, in the coordinates of the persona's face box."""

Pcm = NDArray[np.int16]  # (n,) mono, 16 kHz
Picture = NDArray[np.uint8]  # (width * height * 3 // 2,) I420, contiguous and writable
Faces = NDArray[np.uint8]  # (batch, 256, 256, 3) BGR


@dataclass(frozen=True, slots=True)
class FrameJob:
    """A request for one picture: for which stream, from which audio, on which pose, and by when.

    `audio` is None for a picture that needs no inference: the mouth closing after speech.
    """

    stream: int
    generation: int  # results of a generation that has been cleared are dropped
    tick: int  # position on the session's output clock, in frames; also selects the pose
    due: float  # seconds of time.monotonic(); a picture made later than this is useless
    persona: Persona
    audio: Pcm | None  # (left_context + 640 + lookahead,); zeros outside the segment
    closing: int = 0  # 1..close_frames while the mouth closes, 0 while it speaks
    segment: int = 0  # segment of the stream that the audio belongs to; never decreases
    frame: int = 0  # position in the segment: the picture's own audio starts at sample 640 * frame
    unheard: int = (
        0  # trailing samples of `audio` that are past the segment's end or not received yet
    )

    @property
    def inferred(self) -> bool:
        """Whether the backend has to run for this picture."""
        return self.audio is not None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished picture, addressed to the stream that requested it."""

    stream: int
    generation: int
    tick: int
    picture: Picture


@dataclass(slots=True)
class EngineStats:
    """Counters of a pool since it started."""

    backend: str = ""
    frames: int = 0  # inferred
    batches: int = 0
    late: int = 0  # dropped because their deadline had passed
    stale: int = 0  # dropped because their generation was cleared
    invalid: int = 0  # faces with NaN or Inf, replaced by the persona's own frame
    restarts: int = 0
    crowded: int = 0  # lost because a worker held too many pictures
    busy_s: float = 0.0
    longest_s: float = 0.0  # of a single batch
    batch_sizes: dict[int, int] = field(default_factory=dict)
