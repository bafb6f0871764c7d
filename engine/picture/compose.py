"""From painted faces to pictures: talking frames, and mouths that close after speech."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from engine.core.persona import Persona
from engine.core.types import Faces, FrameJob, Picture, Rendered
from engine.picture.blend import FULL, Bgr, Canvas, Patch

log = logging.getLogger(__name__)

Relax = Callable[[FrameJob, int, float], Bgr]


@dataclass(frozen=True, slots=True)
class _Shown:
    tick: int
    said: FrameJob  # the last job that talked; the face is its own
    face: Bgr | None  # None where the backend closes the mouth
    weight: float  # 1 while talking, falling to 0 while the mouth closes


class Composer:
    """Keeps the latest faces of each stream. Used by one thread.

    Args:
        close_frames: pictures over which a mouth closes.
        run_ahead: pictures that may be painted before they are shown. As many faces are kept,
            because an interrupted mouth closes from the face shown, not from the last painted.
        relax: `Capabilities.relax` of the backend; its face replaces the last one that talked.
    """

    def __init__(self, close_frames: int, run_ahead: int, relax: Relax | None = None) -> None:
        self._relax = relax
        self._step = 1 / (close_frames + 1)
        self._kept = run_ahead + 1
        self._shown: dict[int, deque[_Shown]] = {}
        self._generation: dict[int, int] = {}
        self._canvases: WeakKeyDictionary[Persona, Canvas] = WeakKeyDictionary()

    def paint(self, job: FrameJob, face: Bgr | None, patch: Patch | None = None) -> Rendered:
        """The picture of a job.

        Args:
            face: (256, 256, 3) BGR; None for a job that was not inferred. Not used after the call.
            patch: the painted region, if a device has already pasted the face.
        """
        shown = self._history(job)
        if face is not None:
            current = _Shown(job.tick, job, None if self._relax else face.copy(), 1.0)
        elif shown:
            weight = min(shown[-1].weight - self._step, 1 - job.closing * self._step)
            current = replace(shown[-1], tick=job.tick, weight=max(0.0, weight))
        else:
            return self._resting(job)
        shown.append(current)
        if patch is not None:
            return self._rendered(job, self._canvas(job.persona).placed(job.tick, patch))
        if face is None:
            face = self._closing(current)
        if face is None:
            return self._resting(job)
        picture = self._canvas(job.persona).picture(job.tick, face, round(current.weight * FULL))
        return self._rendered(job, picture)

    def paint_all(
        self, jobs: Sequence[FrameJob], faces: Faces, patches: Sequence[Patch | None]
    ) -> tuple[list[Rendered], set[int]]:
        """The pictures of a batch, and the streams whose picture failed.

        Args:
            faces: of the inferred jobs, in their order, like `patches`.
        """
        painted = zip(faces, patches, strict=True)
        pictures: list[Rendered] = []
        failed: set[int] = set()
        for job in jobs:
            face, patch = next(painted) if job.inferred else (None, None)
            try:
                pictures.append(self.paint(job, face, patch))
            except Exception:  # a fault of one persona must not affect other streams
                log.exception("cannot paste a face into %s", job.persona.name)
                failed.add(job.stream)
        return pictures, failed

    def forget(self, stream: int) -> None:
        self._shown.pop(stream, None)
        self._generation.pop(stream, None)

    @property
    def streams(self) -> set[int]:
        """The streams for which state is kept."""
        return self._shown.keys() | self._generation.keys()

    def _history(self, job: FrameJob) -> deque[_Shown]:
        """What a stream showed before the job, latest last."""
        shown = self._shown.setdefault(job.stream, deque(maxlen=self._kept))
        if self._generation.get(job.stream) != job.generation:
            self._generation[job.stream] = job.generation
            # Painted ahead for a cleared generation: never shown.
            while shown and shown[-1].tick >= job.tick:
                shown.pop()
        return shown

    def _closing(self, shown: _Shown) -> Bgr | None:
        """The last face on its way to the closed mouth; None when that is reached."""
        if not shown.weight:
            return None
        return self._relax(shown.said, shown.tick, shown.weight) if self._relax else shown.face

    def _canvas(self, persona: Persona) -> Canvas:
        if persona not in self._canvases:
            self._canvases[persona] = Canvas(persona)
        return self._canvases[persona]

    def _resting(self, job: FrameJob) -> Rendered:
        return self._rendered(job, job.persona.pictures[job.persona.source(job.tick)])

    @staticmethod
    def _rendered(job: FrameJob, picture: Picture) -> Rendered:
        return Rendered(job.stream, job.generation, job.tick, picture)
