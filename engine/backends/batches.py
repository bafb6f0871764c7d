"""A batch on its way through the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.audio.features import Features, Heard
from engine.backends.torch_rung import Inputs, Outputs
from engine.core.types import FrameJob
from engine.picture.blend import Paste

if TYPE_CHECKING:
    from engine.picture.gpu_blend import GpuBlender, Patches


@dataclass(slots=True)
class Slot:
    """Buffers of a batch under way; on a CPU those of the host are all there is."""

    inputs: Inputs
    device_inputs: Inputs | None
    device_outputs: Outputs | None
    outputs: Outputs
    jobs: tuple[FrameJob, ...] = ()
    done: Any = None  # event after which `outputs` hold the batch
    patches: Patches | None = None  # where the device has pasted its faces
    pasted: Tensor | None = None  # (n,) uint8 on the host: begins with a copy of `patches`

    def paste(self, blender: GpuBlender) -> None:
        """Paste the faces of the jobs, where they have been painted."""
        painted = self.device_outputs or self.outputs
        pastes = [Paste(job.persona, job.tick) for job in self.jobs]
        self.patches = blender.launch(painted.faces, pastes)

    def fetch_patches(self) -> None:
        """Bring what was pasted to the host, on the current stream."""
        if self.patches is None:
            return
        pixels = self.patches.pixels
        if self.pasted is None or self.pasted.numel() < pixels.numel():
            self.pasted = torch.empty(
                2 * pixels.numel(), dtype=torch.uint8, pin_memory=pixels.is_cuda
            )
        self.pasted[: pixels.numel()].copy_(pixels, non_blocking=True)

    def listen(self, features: Features, jobs: Sequence[FrameJob]) -> None:
        """Write what is heard of the jobs into the first rows of the host's buffers.

        What is behind them is run and ignored.
        """
        host = self.inputs
        arrays = host.log.numpy(), host.floor.numpy(), host.index.numpy(), host.valid.numpy()
        features.listen(jobs, Heard(*arrays))

    def pose(self, latents: Sequence[Any]) -> None:
        """Write the latents (8, 32, 32) of the jobs."""
        rows = self.inputs.latents.numpy()
        for place, each in enumerate(latents):
            rows[place] = each
