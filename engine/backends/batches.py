"""A batch on its way through the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.backends.torch_rung import Inputs, Outputs
from engine.features import Features, Heard
from engine.types import FrameJob


@dataclass(slots=True)
class Slot:
    """Buffers of a batch under way; on a CPU those of the host are all there is."""

    inputs: Inputs
    device_inputs: Inputs | None
    device_outputs: Outputs | None
    outputs: Outputs
    jobs: tuple[FrameJob, ...] = ()
    done: Any = None  # event after which `outputs` hold the batch

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
