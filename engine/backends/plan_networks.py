"""MuseTalk's networks as TensorRT plans, run on torch's tensors and streams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.backends.torch_rung import Inputs, Outputs
from engine.core.engine_errors import BackendUnavailable, EngineFault
from engine.core.types import FACE_SIZE
from engine.models.hearing import scaled
from engine.musetalk.windows import STATES, window_length

HALF = torch.float16
HEARD = (STATES * window_length(), 384)
FACE = (4, 32, 32)


class PlanNetworks:
    """`engine.backends.torch_rung.Networks` of three plans: sound, UNet, decoder.

    A batch size has execution contexts of its own, since a captured graph is of one context and
    one shape. All share one piece of scratch memory: no two run at once.

    Attributes:
        smallest, best, largest: batch sizes that every plan takes, and was tuned for.
    """

    def __init__(self, trt: Any, plans: dict[str, Path], device: torch.device) -> None:
        """Raises BackendUnavailable where TensorRT refuses a plan."""
        self._device = device
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engines = {part: self._loaded(path) for part, path in plans.items()}
        profiles = [engine.get_tensor_profile_shape(_first(trt, engine), 0) for engine in self]
        self.smallest = max(smallest[0] for smallest, _, _ in profiles)
        self.best = profiles[0][1][0]
        self.largest = min(largest[0] for _, _, largest in profiles)
        size = max(_scratch_size(engine) for engine in self)
        self._scratch = torch.empty(max(size, 1), dtype=torch.uint8, device=device)
        self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._sizes: dict[int, _Batch] = {}

    def __iter__(self) -> Any:
        return iter(self._engines.values())

    def __call__(self, inputs: Inputs) -> Outputs:
        """Run a batch on the current stream. Raises EngineFault where TensorRT does not."""
        size = len(inputs.log)
        if size not in self._sizes:
            self._sizes[size] = self._batch(size)
        batch = self._sizes[size]
        mel = scaled(inputs.log, inputs.floor).transpose(1, 2)
        batch.tensors["mel"].copy_(mel)
        batch.tensors["index"].copy_(inputs.index)
        batch.tensors["valid"].copy_(inputs.valid)
        batch.tensors["latents"].copy_(inputs.latents)
        stream = torch.cuda.current_stream(self._device).cuda_stream
        for part, context in batch.contexts.items():
            if not context.execute_async_v3(stream):
                raise EngineFault(f"TensorRT did not run the plan of {part}.")
        return Outputs(batch.tensors["faces"], batch.tensors["broken"])

    def _batch(self, size: int) -> _Batch:
        rows = self._rows()
        shapes = {
            "mel": ((size, *rows), HALF),
            "index": ((size, window_length()), torch.int64),
            "valid": ((size, window_length()), HALF),
            "latents": ((size, 8, 32, 32), HALF),
            "heard": ((size, *HEARD), HALF),
            "face": ((size, *FACE), HALF),
            "faces": ((size, FACE_SIZE, FACE_SIZE, 3), torch.uint8),
            "broken": ((size,), torch.int32),
        }
        tensors = {
            name: torch.zeros(shape, dtype=kind, device=self._device)
            for name, (shape, kind) in shapes.items()
        }
        contexts = {part: self._context(engine, tensors) for part, engine in self._engines.items()}
        return _Batch(tensors, contexts)

    def _rows(self) -> tuple[int, int]:
        _, bands, rows = self._engines["sound"].get_tensor_shape("mel")
        return int(bands), int(rows)

    def _context(self, engine: Any, tensors: dict[str, Tensor]) -> Any:
        context = engine.create_execution_context(self._strategy)
        if context is None:
            raise EngineFault(
                "TensorRT made no execution context; the device may be out of memory."
            )
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        else:
            context.device_memory = self._scratch.data_ptr()
        for place in range(engine.num_io_tensors):
            name = engine.get_tensor_name(place)
            tensor = tensors[name]
            # Of inputs only; an output's shape follows.
            if engine.get_tensor_mode(name).name == "INPUT" and not context.set_input_shape(
                name, tuple(tensor.shape)
            ):
                raise EngineFault(f"The plan does not take {name} of shape {tuple(tensor.shape)}.")
            context.set_tensor_address(name, tensor.data_ptr())
        return context

    def _loaded(self, path: Path) -> Any:
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise BackendUnavailable(
                f"TensorRT refuses {path.name}.",
                "Build it again with `voipavatar models build-tensorrt --force`.",
            )
        return engine


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch size's tensors by name, and contexts by part, in the order in which they run."""

    tensors: dict[str, Tensor]
    contexts: dict[str, Any]


def _first(trt: Any, engine: Any) -> str:
    names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
    found: str = next(
        name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
    )
    return found


def _scratch_size(engine: Any) -> int:
    """Bytes; TensorRT 11 knows the second name only."""
    return int(getattr(engine, "device_memory_size_v2", 0) or engine.device_memory_size)
