"""One batch size of the torch backend: static buffers, and on a GPU a captured graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from engine.core.types import FACE_SIZE
from engine.models.pipeline import Pipeline
from engine.musetalk.mel import BANDS
from engine.musetalk.windows import window_length
from engine.picture.latents import SHAPE

ALIGNED = 256
"""Bytes: what memory of a device begins at, so vector loads of a job's sound are aligned, too."""

WARM_UPS = 2
"""Runs before a capture: libraries pick their algorithms and allocate their workspaces."""


class Inputs:
    """What a batch is made of; shapes as in `engine.audio.features.Heard`.

    All of a job lies in one row of bytes, so that the first jobs of a batch are one copy: each
    call of the device's library costs the host as much as some kilobytes.

    Attributes:
        log: (batch, rows, 80) float32.
        floor: (batch,) float32.
        index: (batch, 10) int64.
        valid: (batch, 10) bool.
        latents: (batch, 8, 32, 32).
    """

    def __init__(self, packed: Tensor, rows: int, dtype: torch.dtype) -> None:
        """`packed`: (batch, `row_bytes`) uint8, contiguous."""
        self._packed, self._form = packed, (rows, dtype)
        self._firsts: dict[int, Inputs] = {}
        parts, at = [], 0
        for kind, shape in _fields(rows, dtype):
            width = kind.itemsize * prod(shape)
            parts.append(packed[:, at : at + width].view(kind).unflatten(1, shape))
            at += width
        self.log, self.latents, self.index, floor, self.valid = parts
        self.floor = floor[:, 0]

    def first(self, count: int) -> Inputs:
        """Views, which are kept: making them anew each batch takes as long as copying them."""
        if count not in self._firsts:
            self._firsts[count] = self.slice(0, count)
        return self._firsts[count]

    def slice(self, start: int, end: int) -> Inputs:
        return Inputs(self._packed[start:end], *self._form)

    def copy_(self, other: Inputs) -> None:
        self._packed.copy_(other._packed, non_blocking=True)


def _fields(rows: int, dtype: torch.dtype) -> list[tuple[torch.dtype, tuple[int, ...]]]:
    """What follows each other in the row of a job; each ends where the next may begin.

    Sound and latents are multiples of 64 bytes, whatever the rows and the type.
    """
    positions = window_length()
    return [
        (torch.float32, (rows, BANDS)),
        (dtype, SHAPE),
        (torch.int64, (positions,)),
        (torch.float32, (1,)),
        (torch.bool, (positions,)),
    ]


def row_bytes(rows: int, dtype: torch.dtype) -> int:
    """Of a job, so that the next row is aligned like the first."""
    width: int = sum(kind.itemsize * prod(shape) for kind, shape in _fields(rows, dtype))
    return -(-width // ALIGNED) * ALIGNED


@dataclass(frozen=True, slots=True)
class Outputs:
    """What comes out of a batch."""

    faces: Tensor  # (batch, 256, 256, 3) uint8 BGR
    bad: Tensor  # (batch,) int32: 1 where a face is not made of finite numbers
    _firsts: dict[int, Outputs] = field(default_factory=dict, repr=False, compare=False)

    def first(self, count: int) -> Outputs:
        """Views, which are kept."""
        if count not in self._firsts:
            self._firsts[count] = Outputs(self.faces[:count], self.bad[:count])
        return self._firsts[count]

    def copy_(self, other: Outputs) -> None:
        self.faces.copy_(other.faces, non_blocking=True)
        self.bad.copy_(other.bad, non_blocking=True)


def new_inputs(size: int, rows: int, dtype: torch.dtype, where: torch.device, pin: bool) -> Inputs:
    """Zeroed buffers on the device, or page-locked on the host."""
    shape = (size, row_bytes(rows, dtype))
    return Inputs(torch.zeros(shape, dtype=torch.uint8, device=where, pin_memory=pin), rows, dtype)


def new_outputs(size: int, where: torch.device, pin: bool) -> Outputs:
    faces = torch.zeros(
        (size, FACE_SIZE, FACE_SIZE, 3), dtype=torch.uint8, device=where, pin_memory=pin
    )
    return Outputs(faces, torch.zeros(size, dtype=torch.int32, device=where, pin_memory=pin))


Networks = Callable[[Inputs], Outputs]
"""Who runs the networks over a batch's device buffers, on the current stream."""


def in_pytorch(pipeline: Pipeline) -> Networks:
    """The networks as PyTorch runs them."""

    def run(inputs: Inputs) -> Outputs:
        bad = torch.zeros(len(inputs.log), dtype=torch.int32, device=inputs.log.device)
        tokens = pipeline.listen(inputs.log, inputs.floor, inputs.index, inputs.valid)
        latents = inputs.latents.contiguous(memory_format=torch.channels_last)
        return Outputs(pipeline.paint(tokens, latents, bad), bad)

    return run


class Rung:
    """A batch size that is ready to run.

    Args:
        networks: who runs them.
        inputs: static device buffers of this size, which `run` reads.
        pool: memory that the graphs of all rungs share, since they never run at once.
    """

    def __init__(self, networks: Networks, inputs: Inputs, pool: object | None) -> None:
        self.inputs = inputs
        self._run: Callable[[], Outputs] = lambda: networks(inputs)
        self.outputs = self._run()
        if inputs.log.is_cuda:
            self._run = self._captured(pool)

    def run(self) -> Outputs:
        """Start a run over `inputs`; on a GPU it goes on after this returns."""
        self.outputs = self._run()
        return self.outputs

    def _captured(self, pool: object | None) -> Callable[[], Outputs]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            outputs = self._run()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay
