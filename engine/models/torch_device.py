"""Which device runs the networks, and in which precision."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from engine.core.engine_errors import BackendUnavailable


def choose_device(wanted: str) -> torch.device:
    """`auto` takes the GPU if there is one.

    Raises:
        BackendUnavailable: a GPU is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise BackendUnavailable(
            "PyTorch finds no NVIDIA GPU here.",
            "See whether `nvidia-smi` does, or set VOIPAVATAR_DEVICE=cpu.",
        )
    return torch.device("cuda" if present and wanted != "cpu" else "cpu")


def dtype_of(device: torch.device) -> torch.dtype:
    """Half precision on a GPU; CPUs are faster in single."""
    return torch.float16 if device.type == "cuda" else torch.float32


def keep_kernels(models: Path) -> None:
    """Let Triton keep compiled kernels beside the weights, so that a restart need not compile.

    Wherever somebody has told Triton to keep them, or the folder cannot be written to, nothing
    changes.
    """
    if os.access(models, os.W_OK):
        os.environ.setdefault("TRITON_CACHE_DIR", str((models / "kernels").resolve()))


def described(device: torch.device) -> dict[str, str]:
    """Name, driver and libraries of a device, as run times depend on them."""
    libraries = {"torch": torch.__version__}
    if device.type != "cuda":
        return {
            **libraries,
            "device": f"{_processor()}, {torch.get_num_threads()} threads",
        }
    return {
        **libraries,
        "device": torch.cuda.get_device_name(device),
        "driver": _first_line(Path("/proc/driver/nvidia/version")),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def _processor() -> str:
    """The processor's own name, where the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().partition("\n")[0]
    return "unknown"
