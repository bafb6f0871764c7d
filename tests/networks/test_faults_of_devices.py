"""What errors of a device are to the engine."""

from __future__ import annotations

import pytest
import torch

from engine.core.engine_errors import BackendUnavailable, DeviceLost, EngineFault
from engine.models.device_failures import fault_of, refusal_of

ORDINAL = """CUDA error: invalid device ordinal
GPU device may be out of range, do you have enough GPUs?
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        (ORDINAL, EngineFault, "The device failed: CUDA error: invalid device ordinal"),
        (
            "CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has",
            EngineFault,
            "The device failed: CUDA out of memory",
        ),
        (
            "CUDA error: an illegal memory access was encountered\nMore.",
            DeviceLost,
            "The device is lost to this process (CUDA error: an illegal memory access was "
            "encountered); start it again.",
        ),
    ],
)
def test_an_error_of_the_device_is_said_in_a_sentence(
    message: str, kind: type[EngineFault], said: str
) -> None:
    fault = fault_of(RuntimeError(message))
    assert type(fault) is kind
    assert str(fault) == said


def test_a_full_device_is_refused_with_what_mends_it() -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
    refusal = refusal_of(full, torch.device("cpu"))
    assert isinstance(refusal, BackendUnavailable)
    assert "too little free memory" in str(refusal)
    assert "nvidia-smi" in refusal.remedy
