"""The one place that imports TensorRT, under whichever name it is installed."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from engine.errors import BackendUnavailable
from engine.features import Hearing
from engine.models.header import fingerprint
from engine.models.layout import needed

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""By preference; the last is the name of TensorRT for RTX without its metapackage."""

RUNGS = (1, 2, 4, 8, 16, 25, 50)
"""Batch sizes, as far as a plan takes them."""

PLANS = "plans"
"""Folder of the plans, inside the models folder."""


def load_tensorrt() -> Any:
    """The module. Raises BackendUnavailable when none is installed."""
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise BackendUnavailable(
        "TensorRT is not installed.",
        "Run `uv pip install -e '.[tensorrt]'`, or '.[tensorrt-rtx]' for RTX cards.",
    )


def flavour(trt: Any) -> str:
    """`trt-10.9.0.34`, or `rtx-1.7.1.116` of TensorRT for RTX: plans of one fit no other."""
    kind = "rtx" if "rtx" in trt.__name__ else "trt"
    return f"{kind}-{trt.__version__}"


def model_key(models: Path, version: str, decoder: str, hearing: Hearing) -> str:
    """Short hash of all that a plan computes: weights, and how long the windows are.

    Raises:
        BackendUnavailable: converted weights are missing or damaged.
    """
    weights = fingerprint(models, needed(version, decoder))
    return hashlib.sha256(f"{weights} {hearing.rows}".encode()).hexdigest()[:12]


def plan_name(version: str, decoder: str, key: str, made_by: str, gpu: str) -> str:
    """File name of a plan.

    Args:
        key: of `model_key`.
        made_by: of `flavour`.
        gpu: compute capability that it was compiled for, as in sm89.
    """
    return f"{version}-{decoder}-{key}-{made_by}-{gpu}.plan"


def find_plan(
    models: Path, version: str, decoder: str, hearing: Hearing, made_by: str, gpu: str
) -> Path:
    """The plan of these weights for this library and device.

    Raises:
        BackendUnavailable: there is none; says what the plans that are there were made for.
    """
    key = model_key(models, version, decoder, hearing)
    path = models / PLANS / plan_name(version, decoder, key, made_by, gpu)
    if path.is_file():
        return path
    others = sorted((models / PLANS).glob(f"{version}-{decoder}-*.plan"))
    found = f" ({', '.join(other.name for other in others)} is stale or for another)"
    raise BackendUnavailable(
        f"There is no plan {path.name} in {path.parent}{found if others else ''}.",
        rebuild(version, decoder, gpu),
    )


def rebuild(version: str, decoder: str, gpu: str) -> str:
    """The commands that make a plan."""
    which = f"--version {version} --decoder {decoder}"
    return (
        f"Run `voipavatar models export {which}` and "
        f"`voipavatar models build-tensorrt {which} --target {gpu}`."
    )


def rungs_within(smallest: int, largest: int) -> tuple[int, ...]:
    """Batch sizes that are run on a plan that takes from `smallest` to `largest`."""
    usual = (size for size in RUNGS if smallest <= size <= largest)
    return tuple(sorted({smallest, *usual, largest}))
