"""The seam between the engine and what paints faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.core.persona import Persona
from engine.core.types import Faces, FrameJob
from engine.picture.blend import Patch


class Backend(Protocol):
    """Paints the talking faces of a batch. Used by one thread only, the device's own.

    Attributes:
        name: `warp`, `torch`, `tensorrt`.
        left_context: samples at 16 kHz that a job's audio holds before its own 640.
        lookahead: samples at 16 kHz that it holds after them; they delay a live microphone.
        rungs: batch sizes that run well, ascending; a batch is never larger than the last. True
            once it has started.
        invalid: faces so far that were not finite and were replaced by the persona's own.
    """

    name: str
    left_context: int
    lookahead: int
    rungs: tuple[int, ...]
    invalid: int

    def start(self) -> None:
        """Load, allocate, compile. Raises BackendUnavailable with the command that mends it."""
        ...

    def admit(self, persona: Persona) -> None:
        """Have all that a persona's faces need. On any thread; may take long the first time.

        Raises PersonaError, with the command that mends it, if its faces can't be painted.
        """
        ...

    def open(self, stream: int) -> None:
        """A stream begins; a backend may keep state under its number."""
        ...

    def close(self, stream: int) -> None:
        """The stream ended; forget it."""
        ...

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        """Faces of the jobs, in their order: (len(jobs), 256, 256, 3) uint8 BGR.

        The array is valid until the next call. Raises EngineFault when the device failed.
        """
        ...

    def stop(self) -> None:
        """Give everything back. Idempotent; `start` may follow."""
        ...


@runtime_checkable
class Pipelined(Protocol):
    """What a backend has besides if a batch can be on its way while another is prepared.

    At most two batches are under way, collected in the order of their submission. The faces stay
    valid until the second submission after theirs.

    Attributes:
        depth: batches that may be under way at once; with 1, `Backend.run` is used instead.
    """

    depth: int

    def submit(self, jobs: Sequence[FrameJob]) -> Any:
        """Start a batch; what `collect` wants. Raises EngineFault."""
        ...

    def done(self, batch: Any) -> bool:
        """`collect` would not wait, or would raise."""
        ...

    def collect(self, batch: Any) -> Faces:
        """Wait for a batch; faces as of `Backend.run`. Raises EngineFault."""
        ...


@runtime_checkable
class Pasting(Protocol):
    """What a backend has besides if its device also pastes faces into frames."""

    def patches(self, batch: Any) -> Sequence[Patch | None]:
        """Painted regions of a batch that was collected, one a face; valid as long as the faces.

        As of `engine.picture.blend.Canvas`, within a level. None where the face has to be pasted on
        the host; empty where all have.
        """
        ...


@runtime_checkable
class Relaxing(Protocol):
    """What a backend has besides if it can close a mouth, where others' last face only fades."""

    def relax(self, said: FrameJob, tick: int, weight: float) -> NDArray[np.uint8]:
        """The face of a job on the pose of a later tick, its mouth less open.

        Args:
            said: the last job of its stream that talked.
            weight: 1 as it talked … 0 closed; the engine pastes the face with this weight.

        Returns:
            (256, 256, 3) BGR, valid until the next call.
        """
        ...


@runtime_checkable
class Identified(Protocol):
    """What a backend has besides whose run times are worth keeping between two starts."""

    def identity(self) -> dict[str, str]:
        """All that run times depend on: device, driver, libraries, weights, forms of the input.

        True once the backend has started.
        """
        ...
