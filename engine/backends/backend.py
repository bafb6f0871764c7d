"""The interface between the engine and what paints faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.core.persona import Persona
from engine.core.types import Faces, FrameJob
from engine.picture.blend import Patch
from engine.picture.compose import Relax


@dataclass(frozen=True, slots=True)
class BatchPipeline:
    """How to start one batch while another is running.

    At most two batches are in flight, collected in the order in which they were submitted. Faces
    stay valid until the second submission after theirs.

    Attributes:
        depth: batches that may be in flight at once; with 1, `Backend.run` is used instead.
        submit: starts a batch and returns its handle. Raises EngineFault.
        done: whether `collect` would return, or raise, without waiting.
        collect: waits for a batch; returns faces as `Backend.run` does. Raises EngineFault.
        patches: for a device that also pastes faces into frames. The painted regions of a collected
            batch, one per face, valid as long as the faces; laid out as by
            `engine.picture.blend.Canvas`, within one level. None for a face that the host has to
            paste; empty if it has to paste all of them.
    """

    depth: int
    submit: Callable[[Sequence[FrameJob]], Any]
    done: Callable[[Any], bool]
    collect: Callable[[Any], Faces]
    patches: Callable[[Any], Sequence[Patch | None]] | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do beyond `Backend.run`; None where it cannot.

    Attributes:
        pipeline: overlaps batches.
        relax: closes a mouth; with other backends the last face fades out. Takes the last job of a
            stream that talked, a later tick that chooses the pose, and a weight from 1 (as it
            talked) to 0 (closed), with which the engine then pastes the face. Returns
            (256, 256, 3) BGR, valid until the next call.
        identity: everything that run times depend on (device, driver, libraries, weights, input
            shapes), so that they can be kept between two starts. Known once the backend started.
    """

    pipeline: BatchPipeline | None = None
    relax: Relax | None = None
    identity: Callable[[], dict[str, str]] | None = None


class Backend(Protocol):
    """Paints the talking faces of a batch. Used only by the device's own thread.

    Attributes:
        name: `warp`, `torch`, `tensorrt`.
        left_context: samples at 16 kHz that a job's audio holds before its own 640.
        lookahead: samples at 16 kHz that it holds after them; they delay a live microphone.
        rungs: batch sizes that run well, ascending; no batch is larger than the last. Valid once
            the backend has started.
        invalid: faces so far that were not finite and were replaced by the persona's own.
    """

    name: str
    left_context: int
    lookahead: int
    rungs: tuple[int, ...]
    invalid: int

    @property
    def capabilities(self) -> Capabilities:
        """The same for the backend's whole life."""
        ...

    def start(self) -> None:
        """Load, allocate, compile. Raises BackendUnavailable with the command that fixes it."""
        ...

    def admit(self, persona: Persona) -> None:
        """Get everything that a persona's faces need. On any thread; may be slow the first time.

        Raises PersonaError, with the command that fixes it, if its faces can't be painted.
        """
        ...

    def open(self, stream: int) -> None:
        """A stream begins; a backend may keep state under its number."""
        ...

    def close(self, stream: int) -> None:
        """The stream ended; drop its state."""
        ...

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        """Faces of the jobs, in their order: (len(jobs), 256, 256, 3) uint8 BGR.

        The array is valid until the next call. Raises EngineFault if the device failed.
        """
        ...

    def stop(self) -> None:
        """Release everything. Idempotent; `start` may follow."""
        ...
