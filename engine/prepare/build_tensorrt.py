"""Compiles ONNX to TensorRT plans, on the target GPU or, with TensorRT for RTX, without one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.backends.trt import flavour
from engine.core.engine_errors import EngineError
from engine.core.new_file import NewFile

WORKSPACE = 8 << 30  # bytes that a tactic may use while it is timed
LEVEL = 3  # 0 … 5: how long the builder searches for faster kernels

Progress = Callable[[str, int, int], None]
"""Called with a phase, its steps so far, and its total."""


class BuildFailed(EngineError):
    """TensorRT rejected the network or the target."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Options for building plans.

    Attributes:
        batch_sizes: smallest, the one to be fastest, and largest.
        target: compute capability, as in sm89; None for the GPU of this machine.
        level: 0 … 5, TensorRT's builder optimisation level.
        cache: file of the kernels' measured times, read and written; None for another machine's
            GPU, whose times cannot be measured here.
    """

    batch_sizes: tuple[int, int, int]
    target: str | None = None
    level: int = LEVEL
    cache: Path | None = None


def build_plan(
    trt: Any, onnx: Path, path: Path, wish: Wish, progress: Progress | None = None
) -> None:
    """Compiles a plan and writes it atomically.

    Raises:
        BuildFailed: the batch sizes do not ascend, or TensorRT failed; has its message.
    """
    check_order(wish.batch_sizes)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.builder_optimization_level = wish.level
    if wish.target is not None:
        _aim(trt, config, wish.target)
    network = _parsed(trt, builder, logger, onnx)
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        rest = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, *((size, *rest) for size in wish.batch_sizes))
    config.add_optimization_profile(profile)
    if progress is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, progress)
    known = _with_times(config, wish.cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildFailed(f"{flavour(trt)} cannot compile {onnx} for {wish.target or 'this GPU'}.")
    write_whole(path, plan)
    if known is not None and wish.cache is not None:
        write_whole(wish.cache, known.serialize())


def write_whole(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NewFile(path) as partial:
        partial.write_bytes(content)


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


def _monitor(trt: Any, progress: Progress) -> Any:
    """Reports TensorRT's phases as they advance."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._steps[name] = steps
            progress(name, 0, steps)

        def step_complete(self, name: str, step: int) -> bool:
            progress(name, step + 1, self._steps.get(name, 0))
            return True  # go on

        def phase_finish(self, name: str) -> None:
            steps = self._steps.pop(name, 0)
            progress(name, steps, steps)

    return Monitor()


def _with_times(config: Any, path: Path | None) -> Any:
    """Loads the kernel timings of earlier builds on this GPU; returns the cache to write back."""
    if path is None or not hasattr(config, "create_timing_cache"):
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")  # of another version or device
        config.set_timing_cache(cache, False)
    return cache


def _parsed(trt: Any, builder: Any, logger: Any, onnx: Path) -> Any:
    """Parses an ONNX file; its types are kept."""
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
    """Sets the target to a GPU other than this machine's."""
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
