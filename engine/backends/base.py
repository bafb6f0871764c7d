"""The seam between the engine and what paints faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.types import Faces, FrameJob


class Backend(Protocol):
    """Paints the talking faces of a batch. Used by one thread only, the device's own.

    Attributes:
        name: `warp`, `torch`, `tensorrt`.
        left_context: samples at 16 kHz that a job's audio holds before its own 640.
        lookahead: samples at 16 kHz that it holds after them; they delay a live microphone.
        rungs: batch sizes that run well, ascending; a batch is never larger than the last.
    """

    name: str
    left_context: int
    lookahead: int
    rungs: tuple[int, ...]

    def start(self) -> None:
        """Load, allocate, compile. Raises BackendUnavailable with the command that mends it."""
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
