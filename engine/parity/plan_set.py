"""The three plans of a decoder: built as far as they are missing, kept once they are proven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from engine.audio.features import Hearing
from engine.backends.musetalk_torch import GPU_RUNGS
from engine.backends.plan_networks import PlanNetworks
from engine.backends.trt import find_plans, flavour, load_tensorrt, rungs_within
from engine.parity.plan_proofs import Proof, prove
from engine.prepare.build_tensorrt import BuildFailed, Progress, Wish, build_plan, this_gpu
from engine.prepare.export_onnx import load_reference

Plans = dict[str, Path]  # by part
Telling = Callable[[str], AbstractContextManager[Progress]]


def build_missing(trt: Any, onnx: Path, plans: Plans, wish: Wish, tell: Telling) -> Plans:
    """Build each plan whose file is missing, beside its place; where they are, by part.

    Args:
        onnx: folder of the exported files.
        tell: is asked for a listener for each part.

    Raises BuildFailed.
    """
    built = {}
    for part, path in plans.items():
        if path.is_file():
            continue
        built[part] = path.with_suffix(".unproven")
        with tell(part) as progress:
            build_plan(trt, onnx / f"{part}.onnx", built[part], wish, progress)
    return built


def accept(built: Plans, plans: Plans) -> None:
    """From now on they serve."""
    for part, path in built.items():
        path.replace(plans[part])


def require_sources(onnx: Path, plans: Plans, export: str) -> None:
    """Raises BuildFailed, naming the command `export`, where an exported file is missing."""
    for part in plans:
        if not (onnx / f"{part}.onnx").is_file():
            raise BuildFailed(f"{onnx / part}.onnx is missing. Run `{export}`.")


def proofs(
    plans: Plans, models: Path, version: str, decoder: str, hearing: Hearing
) -> Iterator[Proof]:
    """Every batch size that is served, and the plans' own, against PyTorch. Raises BadPlan."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    networks = PlanNetworks(load_tensorrt(), plans, torch.device("cuda"))
    served = rungs_within(networks.smallest, networks.largest, GPU_RUNGS)
    batches = tuple(sorted({*served, networks.best, networks.largest}))
    exact = load_reference(models, version, decoder, device="cuda")
    yield from prove(networks, exact, hearing, batches)


def served_here(models: Path, version: str, decoder: str, hearing: Hearing) -> Plans:
    """The plans that this machine would serve from. Raises BackendUnavailable, BuildFailed."""
    made_by = flavour(load_tensorrt())
    return find_plans(models, version, decoder, hearing, made_by, this_gpu())
