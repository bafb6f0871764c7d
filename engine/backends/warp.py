"""Lip-sync without networks: the persona's own mouth, opened by warping. CPU only, no weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from engine.backends import warp_sound
from engine.backends.backend import Capabilities
from engine.backends.warp_mouth import draw
from engine.backends.warp_rest import Floats, Mouth, lip_bend
from engine.core.persona import Persona
from engine.core.types import FACE_SIZE, Faces, FrameJob
from engine.engine_config import EngineConfig

KEPT = 400  # mouths at rest that stay in memory, 250 kB each

LIPS_FIRST = 4  # power of the weight by which a mouth closes after speech


class WarpBackend:
    """Paints each face from its own window of sound alone; it has no state but a cache."""

    name = "warp"
    left_context = warp_sound.LEFT_CONTEXT
    lookahead = warp_sound.LOOKAHEAD
    rungs: tuple[int, ...] = (1, 2, 4, 8)
    invalid = 0

    def __init__(self, config: EngineConfig) -> None:
        self._bends: WeakKeyDictionary[Persona, Floats] = WeakKeyDictionary()
        self._mouths: OrderedDict[tuple[str, int], Mouth] = OrderedDict()
        self._faces: Faces = np.empty((self.rungs[-1], FACE_SIZE, FACE_SIZE, 3), np.uint8)
        self._relaxed: NDArray[np.uint8] = np.empty_like(self._faces[0])

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(relax=self.relax)

    def start(self) -> None:
        """Nothing to load."""

    def admit(self, persona: Persona) -> None:
        """Every persona has what it takes: a mouth."""

    def open(self, stream: int) -> None:
        """Streams leave no trace here."""

    def close(self, stream: int) -> None:
        """Streams leave no trace here."""

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        shapes = warp_sound.shapes([job.audio for job in jobs if job.audio is not None])
        faces = self._faces[: len(jobs)]
        for job, shape, face in zip(jobs, shapes, faces, strict=True):
            draw(self._mouth(job.persona, job.tick), shape, face)
        return faces

    def relax(self, said: FrameJob, tick: int, weight: float) -> NDArray[np.uint8]:
        """See `Capabilities`. The lips meet before the rest of the face is at ease."""
        assert said.audio is not None
        [spoken] = warp_sound.shapes([said.audio])
        opening = spoken.opening * weight**LIPS_FIRST
        less = warp_sound.Shape(opening, spoken.width * weight, spoken.teeth * weight)
        draw(self._mouth(said.persona, tick), less, self._relaxed)
        return self._relaxed

    def stop(self) -> None:
        self._mouths.clear()

    def _mouth(self, persona: Persona, tick: int) -> Mouth:
        index = persona.source(tick)
        key = (persona.key, index)
        if key not in self._mouths:
            if persona not in self._bends:
                self._bends[persona] = lip_bend(persona)
            self._mouths[key] = Mouth.of(persona, index, self._bends[persona])
            if len(self._mouths) > KEPT:
                self._mouths.popitem(last=False)
        self._mouths.move_to_end(key)
        return self._mouths[key]
