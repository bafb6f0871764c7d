"""The one place that imports TensorRT, under whichever name it is installed."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from engine.audio.features import Hearing
from engine.core.engine_errors import BackendUnavailable
from engine.core.remedies import install_extras
from engine.models.header import fingerprint

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""By preference; the last is the name of TensorRT for RTX without its metapackage."""

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
        f"Install it with: {install_extras('tensorrt')} (on RTX cards the extra `tensorrt-rtx`)",
    )


def flavour(trt: Any) -> str:
    """`trt-10.9.0.34`, or `rtx-1.7.1.116` of TensorRT for RTX: plans of one fit no other."""
    kind = "rtx" if "rtx" in trt.__name__ else "trt"
    return f"{kind}-{trt.__version__}"


FORM = 2
"""Of what is exported; plans of another form are stale."""


def networks_of(version: str, decoder: str) -> dict[str, str]:
    """The network whose weights a part's plan holds, by part."""
    return {"sound": "whisper", "unet": f"unet-{version}", "decoder": decoder}


def plan_names(
    models: Path, version: str, decoder: str, hearing: Hearing, made_by: str, gpu: str
) -> dict[str, str]:
    """File names of the plans, by part. Each says what it depends on, and nothing else.

    Args:
        made_by: of `flavour`.
        gpu: compute capability that they were compiled for, as in sm89.

    Raises:
        BackendUnavailable: converted weights are missing or damaged.
    """
    names = {}
    for part, network in networks_of(version, decoder).items():
        form = f"{fingerprint(models, (network,))} {FORM}"
        if part == "sound":
            form += f" {hearing.rows}"
        key = hashlib.sha256(form.encode()).hexdigest()[:12]
        names[part] = f"{network}-{key}-{made_by}-{gpu}.plan"
    return names


def find_plans(
    models: Path, version: str, decoder: str, hearing: Hearing, made_by: str, gpu: str
) -> dict[str, Path]:
    """The plans of these weights for this library and device, by part.

    Raises:
        BackendUnavailable: one is missing; says what the plans that are there were made for.
    """
    names = plan_names(models, version, decoder, hearing, made_by, gpu)
    for part, name in names.items():
        if not (models / PLANS / name).is_file():
            network = networks_of(version, decoder)[part]
            others = sorted((models / PLANS).glob(f"{network}-*.plan"))
            found = f" ({', '.join(other.name for other in others)} is stale or for another)"
            raise BackendUnavailable(
                f"There is no plan {name} in {models / PLANS}{found if others else ''}.",
                rebuild(version, decoder, gpu),
            )
    return {part: models / PLANS / name for part, name in names.items()}


def rebuild(version: str, decoder: str, gpu: str) -> str:
    """The commands that make the plans."""
    which = f"--version {version} --decoder {decoder}"
    return (
        f"Run `voipavatar models export {which}` and "
        f"`voipavatar models build-tensorrt {which} --target {gpu}`."
    )


def rungs_within(smallest: int, largest: int, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Batch sizes that are run on plans that take from `smallest` to `largest`."""
    within = {size for size in usual if smallest <= size <= largest}
    return tuple(sorted(within | {smallest, min(largest, usual[-1])}))
