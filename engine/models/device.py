"""Which device runs the networks, and in which precision."""

from __future__ import annotations

import torch

from engine.errors import BackendUnavailable


def choose_device(wanted: str) -> torch.device:
    """`auto` takes the GPU if there is one.

    Raises:
        BackendUnavailable: a GPU is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise BackendUnavailable(
            "PyTorch finds no NVIDIA GPU here.",
            "Set the engine's device to cpu, or look at `nvidia-smi`.",
        )
    return torch.device("cuda" if present and wanted != "cpu" else "cpu")


def dtype_of(device: torch.device) -> torch.dtype:
    """Half precision on a GPU; CPUs are faster in single."""
    return torch.float16 if device.type == "cuda" else torch.float32
