"""Lip-sync without networks: the persona's own mouth, opened by warping. CPU only, no weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from engine.backends import warp_sound
from engine.backends.warp_mouth import Mouth, draw
from engine.config import EngineConfig
from engine.types import FACE_SIZE, Faces, FrameJob

KEPT = 512  # faces at rest that stay in memory, 200 kB each


class WarpBackend:
    """Paints each face from its own window of sound alone; it has no state but a cache."""

    name = "warp"
    left_context = warp_sound.LEFT_CONTEXT
    lookahead = warp_sound.LOOKAHEAD
    rungs: tuple[int, ...] = (1, 2, 4, 8)

    def __init__(self, config: EngineConfig) -> None:
        self._mouths: OrderedDict[tuple[str, int], Mouth] = OrderedDict()
        self._faces: Faces = np.empty((self.rungs[-1], FACE_SIZE, FACE_SIZE, 3), np.uint8)

    def start(self) -> None:
        """Nothing to load."""

    def open(self, stream: int) -> None:
        """Streams leave no trace here."""

    def close(self, stream: int) -> None:
        """Streams leave no trace here."""

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        windows = np.stack([job.audio for job in jobs if job.audio is not None])
        shapes = warp_sound.shapes(windows)
        for row, job in enumerate(jobs):
            mouth = self._mouth(job)
            draw(
                mouth,
                float(shapes.opening[row]),
                float(shapes.width[row]),
                float(shapes.teeth[row]),
                self._faces[row],
            )
        return self._faces[: len(jobs)]

    def stop(self) -> None:
        self._mouths.clear()

    def _mouth(self, job: FrameJob) -> Mouth:
        index = job.persona.source(job.tick)
        key = (job.persona.key, index)
        if key not in self._mouths:
            self._mouths[key] = Mouth.of(job.persona, index)
            if len(self._mouths) > KEPT:
                self._mouths.popitem(last=False)
        self._mouths.move_to_end(key)
        return self._mouths[key]
