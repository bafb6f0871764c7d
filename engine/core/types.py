"""The nouns that everything in the engine shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.core.persona import Persona

FPS = 25
"""Pictures a second. MuseTalk was trained at 25 and its audio alignment is baked for it."""

SAMPLE_RATE = 16_000
"""Hz of the mono int16 audio that the engine listens to."""

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640: a picture's own 40 ms
FRAME_S = 1 / FPS

FACE_SIZE = 256
"""Backends paint faces of 256 x 256 pixels, in the coordinates of the persona's face box."""

Pcm = NDArray[np.int16]  # (n,) mono, 16 kHz
Picture = NDArray[np.uint8]  # (width * height * 3 // 2,) I420, contiguous and writable
Faces = NDArray[np.uint8]  # (batch, 256, 256, 3) BGR


@dataclass(frozen=True, slots=True)
class FrameJob:
    """One picture to be made: whose, of which sound, on which pose, and by when.

    `audio` is None for a picture that costs no inference: the mouth closing after speech.
    """

    stream: int
    generation: int  # results of a generation that was cleared meanwhile are thrown away
    tick: int  # place on the session's output clock, in frames; also chooses the pose
    due: float  # seconds of time.monotonic(); a picture made later than this is useless
    persona: Persona
    audio: Pcm | None  # (left_context + 640 + lookahead,) of the backend; zeros outside the segment
    closing: int = 0  # 1..close_frames while the mouth closes, 0 while it speaks
    segment: int = 0  # which segment of its stream the sound belongs to; never falls
    frame: int = 0  # place of the picture in its segment: 640 * frame samples come before its own
    unheard: int = 0  # samples at the end of `audio` past the segment's end, or not heard yet

    @property
    def inferred(self) -> bool:
        """It costs the backend work."""
        return self.audio is not None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished picture on its way back to the stream that asked for it."""

    stream: int
    generation: int
    tick: int
    picture: Picture


@dataclass(slots=True)
class EngineStats:
    """Counters of a pool since its start."""

    backend: str = ""
    frames: int = 0  # inferred
    batches: int = 0
    late: int = 0  # dropped since their deadline had passed
    stale: int = 0  # dropped since their generation was cleared
    invalid: int = 0  # faces with NaN or Inf, replaced by the persona's own frame
    restarts: int = 0
    crowded: int = 0  # lost on their way, since a process of sessions kept too many
    busy_s: float = 0.0
    longest_s: float = 0.0  # of a single batch
    batch_sizes: dict[int, int] = field(default_factory=dict)
