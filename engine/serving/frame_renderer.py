"""The seam behind the pool: where jobs become pictures, in this process or in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from engine.core.persona import Persona
from engine.core.types import EngineStats, FrameJob, Rendered
from engine.serving.warmup import Measured

Deliver: TypeAlias = Callable[[list[Rendered] | str], None]
"""Takes the pictures of a batch, or the sentence that says why there will be none any more. Called
on a thread of the painter's."""


class FrameRenderer(Protocol):
    """A device thread of this process, or a client of another's. For any thread."""

    @property
    def name(self) -> str:
        """Of the backend."""
        ...

    @property
    def left_context(self) -> int:
        """Samples at 16 kHz before a picture's own that a job's sound holds."""
        ...

    @property
    def lookahead(self) -> int:
        """Samples at 16 kHz after them."""
        ...

    @property
    def fault(self) -> str | None:
        """Why nothing is painted any more, or for now; None while all is well."""
        ...

    def start(self) -> Measured:
        """Until jobs can be taken. Blocks; raises BackendUnavailable."""
        ...

    def stop(self) -> None:
        """End its threads and give everything back. Blocks."""
        ...

    def admit(self, persona: Persona) -> None:
        """Have all that a persona's faces need. Blocks; raises PersonaError."""
        ...

    def open(self, stream: int, persona: Persona) -> None:
        """Jobs of a stream follow, all on that persona."""
        ...

    def close(self, stream: int) -> None: ...

    def submit(self, job: FrameJob) -> None: ...

    def clear(self, stream: int, generation: int) -> None:
        """Forget the jobs of a stream that are older than a generation."""
        ...

    def stall(self, stream: int, moment: float, seconds: float) -> None:
        """Fault injection: do nothing for so long from then on, if the stream lives."""
        ...

    def beat_age_s(self) -> float:
        """Seconds since the device's thread last showed that it lives."""
        ...

    def stats(self) -> EngineStats: ...
