"""A batch on its way through the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine.backends.torch_rung import Inputs, Outputs
from engine.features import Heard
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


def fill(inputs: Inputs, heard: Heard, latents: Sequence[Any]) -> None:
    """Put a batch into the first rows of host buffers; what is behind them is run and ignored."""
    count = len(latents)
    inputs.mel[:count].copy_(torch.from_numpy(heard.mels))
    inputs.index[:count].copy_(torch.from_numpy(heard.index))
    inputs.valid[:count].copy_(torch.from_numpy(heard.valid))
    inputs.latents[:count].copy_(torch.from_numpy(np.stack(latents)))
