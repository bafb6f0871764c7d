"""One batch size of the torch backend: static buffers, and on a GPU a captured graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.latents import SHAPE
from engine.models.pipeline import Pipeline
from engine.musetalk.mel import BANDS
from engine.musetalk.windows import window_length
from engine.types import FACE_SIZE

WARM_UPS = 2
"""Runs before a capture: libraries pick their algorithms and allocate their workspaces."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a batch is made of; shapes as in `engine.features.Heard`."""

    log: Tensor  # (batch, rows, 80) float32
    floor: Tensor  # (batch,) float32
    index: Tensor  # (batch, 10) int64
    valid: Tensor  # (batch, 10) bool
    latents: Tensor  # (batch, 8, 32, 32)
    _firsts: dict[int, Inputs] = field(default_factory=dict, repr=False, compare=False)

    def first(self, count: int) -> Inputs:
        """Views, which are kept: making them anew each batch takes as long as copying them."""
        if count not in self._firsts:
            self._firsts[count] = self.slice(0, count)
        return self._firsts[count]

    def slice(self, start: int, end: int) -> Inputs:
        return Inputs(*(each[start:end] for each in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.log, self.floor, self.index, self.valid, self.latents

    def copy_(self, other: Inputs) -> None:
        for mine, theirs in zip(self.tensors, other.tensors, strict=True):
            mine.copy_(theirs, non_blocking=True)


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

    def zeros(kind: torch.dtype, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=kind, device=where, pin_memory=pin)

    positions = window_length()
    return Inputs(
        zeros(torch.float32, size, rows, BANDS),
        zeros(torch.float32, size),
        zeros(torch.int64, size, positions),
        zeros(torch.bool, size, positions),
        zeros(dtype, size, *SHAPE),
    )


def new_outputs(size: int, where: torch.device, pin: bool) -> Outputs:
    faces = torch.zeros(
        (size, FACE_SIZE, FACE_SIZE, 3), dtype=torch.uint8, device=where, pin_memory=pin
    )
    return Outputs(faces, torch.zeros(size, dtype=torch.int32, device=where, pin_memory=pin))


class Rung:
    """A batch size that is ready to run.

    Args:
        inputs: static device buffers of this size, which `run` reads.
        pool: memory that the graphs of all rungs share, since they never run at once.
    """

    def __init__(self, pipeline: Pipeline, inputs: Inputs, pool: object | None) -> None:
        self.inputs = inputs
        self._run = self._eager(pipeline)
        self.outputs = self._run()
        if inputs.log.is_cuda:
            self._run = self._captured(pool)

    def run(self) -> Outputs:
        """Start a run over `inputs`; on a GPU it goes on after this returns."""
        self.outputs = self._run()
        return self.outputs

    def _eager(self, pipeline: Pipeline) -> Callable[[], Outputs]:
        inputs = self.inputs
        size = len(inputs.log)

        def run() -> Outputs:
            bad = torch.zeros(size, dtype=torch.int32, device=inputs.log.device)
            tokens = pipeline.listen(inputs.log, inputs.floor, inputs.index, inputs.valid)
            latents = inputs.latents.contiguous(memory_format=torch.channels_last)
            return Outputs(pipeline.paint(tokens, latents, bad), bad)

        return run

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
