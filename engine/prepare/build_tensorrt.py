"""ONNX to a TensorRT plan, on a machine with the GPU or, with TensorRT for RTX, without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from engine.backends.trt import flavour
from engine.errors import EngineError

WORKSPACE = 8 << 30  # bytes that a tactic may use while it is tried


class BuildFailed(EngineError):
    """TensorRT did not take the network, or the target."""


def build_plan(
    trt: Any, onnx: Path, path: Path, batch_sizes: tuple[int, int, int], target: str | None
) -> None:
    """Compile a plan and write it, whole or not at all.

    Args:
        batch_sizes: smallest, the one to be fastest, and largest.
        target: compute capability, as in sm89; None for the GPU of this machine.

    Raises:
        BuildFailed: the sizes are in no order, or with TensorRT's own words.
    """
    check_order(batch_sizes)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    if target is not None:
        _aim(trt, config, target)
    network = _parsed(trt, builder, logger, onnx)
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *((size, *rest) for size in batch_sizes))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildFailed(f"{flavour(trt)} cannot compile {onnx} for {target or 'this GPU'}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(plan)
    partial.replace(path)


def check_order(batch_sizes: tuple[int, int, int]) -> None:
    """Raises BuildFailed unless they ascend from 1 or more."""
    smallest, best, largest = batch_sizes
    if not 1 <= smallest <= best <= largest:
        raise BuildFailed(
            f"A plan's batch sizes are its smallest, best and largest one, from 1 up, in this "
            f"order: {smallest} {best} {largest} are not. Write --batch-size 1 25 50."
        )


def this_gpu() -> str:
    """Compute capability of this machine's GPU, as in sm89. Raises BuildFailed without one."""
    if not torch.cuda.is_available():
        raise BuildFailed("There is no NVIDIA GPU here: name the one to compile for (--target).")
    return "sm{}{}".format(*torch.cuda.get_device_capability())


def _parsed(trt: Any, builder: Any, logger: Any, onnx: Path) -> Any:
    """The network of an ONNX file, whose types are kept as they are."""
    if not onnx.is_file():
        raise BuildFailed(f"{onnx} is missing. Run `voipavatar models export`.")
    # TensorRT for RTX and TensorRT 11 have no other networks than strongly typed ones.
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = "; ".join(parser.get_error(place).desc() for place in range(parser.num_errors))
        raise BuildFailed(f"{flavour(trt)} does not take {onnx}: {reasons}")
    return network


def _aim(trt: Any, config: Any, target: str) -> None:
    """Compile for another GPU than the one of this machine."""
    known = getattr(trt, "ComputeCapability", None)
    capability = getattr(known, target.upper(), None) if re.fullmatch(r"sm\d+", target) else None
    if capability is None:
        names = [name.lower() for name in dir(known) if name.startswith("SM")]
        raise BuildFailed(
            f"{flavour(trt)} does not compile for {target}; it knows {', '.join(names)}."
            if names
            else f"{flavour(trt)} compiles for the GPU of its machine only, not for {target}."
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)
