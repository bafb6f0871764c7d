"""Classifies device failures, for sessions and for the start of the service."""

from __future__ import annotations

import torch

from engine.core.engine_errors import BackendUnavailable, DeviceLost, EngineError, EngineFault

GIB = 2**30

NO_MEMORY = "out of memory", "ALLOC_FAILED"
LOST = (
    "illegal memory access",
    "illegal address",
    "illegal instruction",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "hardware stack error",
    "ECC error",
)
"""CUDA's messages when every further call fails, as after `cudaErrorIllegalAddress`."""


def fault_of(error: RuntimeError) -> EngineFault:
    """The engine error for a device failure at run time."""
    reason = first_line(error)
    # The rest of the message is advice, which names failures that did not happen.
    if any(each in reason for each in LOST):
        return DeviceLost(f"The device is lost to this process ({reason}); start it again.")
    return EngineFault(f"The device failed: {reason}")


def refusal_of(error: RuntimeError, device: torch.device) -> EngineError:
    """Why the networks do not start on a device, in a sentence, with what mends it."""
    if any(each in first_line(error) for each in LOST):
        return fault_of(error)
    if any(each in str(error) for each in NO_MEMORY):
        return BackendUnavailable(
            f"The device has too little free memory for the engine{_free(device)}.",
            "See with `nvidia-smi` what else uses it; VOIPAVATAR_DECODER=tiny needs half as much.",
        )
    return BackendUnavailable(
        f"The networks do not run on {device}: {first_line(error)}.",
        "`voipavatar doctor` says more.",
    )


def first_line(error: RuntimeError) -> str:
    """Its first sentence: what follows, of PyTorch's errors, is advice to programmers."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.split(". ")[0].rstrip(".")


def _free(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    return f": {free / GIB:.1f} of {total / GIB:.1f} GiB"
