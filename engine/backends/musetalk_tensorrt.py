"""MuseTalk's networks as a TensorRT plan; the process that serves it needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pycuda.driver as cuda
from numpy.typing import NDArray

from engine.backends.fallback import own_face
from engine.backends.trt import RUNGS, find_plan, flavour, load_tensorrt, rebuild, rungs_within
from engine.config import EngineConfig
from engine.errors import BackendUnavailable, EngineFault, PersonaError
from engine.features import Features
from engine.latents import Latents, stored_latents
from engine.models.header import fingerprint
from engine.models.layout import missing, needed
from engine.persona import Persona
from engine.types import Faces, FrameJob


@dataclass(slots=True)
class _Tensor:
    """An input or output of the plan: page-locked host memory, and the device's."""

    name: str
    host: NDArray[Any]  # (largest batch, …)
    device: Any
    is_input: bool


class _Entered:
    """The device's context, current on this thread while its things are used."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._context.push()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.pop()


class TensorRTBackend:
    """See `engine.backends.base.Backend`. Latents come from the persona's folder.

    Attributes:
        invalid: faces that were not finite and were replaced by the persona's own.
    """

    name = "tensorrt"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._trt = load_tensorrt()
        self._features = Features(config.hearing)
        self._latents: WeakKeyDictionary[Persona, Latents] = WeakKeyDictionary()
        self._tensors: dict[str, _Tensor] = {}
        self._context: Any = None
        self._identity: dict[str, str] = {}
        self.left_context = config.hearing.left_context
        self.lookahead = config.hearing.lookahead
        self.rungs: tuple[int, ...] = RUNGS
        self.invalid = 0

    def start(self) -> None:
        """Load the plan. Raises BackendUnavailable with the command that builds it."""
        config = self._config
        missing(config.models_dir, needed(config.version, config.decoder))
        self._encoder_print = fingerprint(config.models_dir, ("kl",))
        try:
            cuda.init()
            device = cuda.Device(0)
        except cuda.Error as error:
            raise BackendUnavailable(
                f"CUDA finds no NVIDIA GPU here: {error}.", "Look at `nvidia-smi`."
            ) from error
        gpu = "sm{}{}".format(*device.compute_capability())
        plan = find_plan(
            config.models_dir,
            config.version,
            config.decoder,
            config.hearing,
            flavour(self._trt),
            gpu,
        )
        self._context = device.retain_primary_context()
        with _Entered(self._context):
            self._load(plan.read_bytes(), plan.name, gpu)
        self._identity = {
            "device": device.name(),
            "driver": str(cuda.get_driver_version()),
            "library": flavour(self._trt),
            "plan": plan.name,
        }

    def identity(self) -> dict[str, str]:
        """See `Identified`."""
        return self._identity

    def _load(self, plan: bytes, name: str, gpu: str) -> None:
        trt = self._trt
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendUnavailable(
                f"TensorRT refuses {name}.",
                rebuild(self._config.version, self._config.decoder, gpu),
            )
        self._engine = engine
        self._stream = cuda.Stream()
        self._execution = engine.create_execution_context()
        for place in range(engine.num_io_tensors):
            tensor = self._allocated(engine.get_tensor_name(place))
            self._tensors[tensor.name] = tensor
            self._execution.set_tensor_address(tensor.name, int(tensor.device))
        smallest, _, largest = engine.get_tensor_profile_shape("latents", 0)
        self.rungs = rungs_within(smallest[0], largest[0])

    def _allocated(self, name: str) -> _Tensor:
        engine, trt = self._engine, self._trt
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        largest = engine.get_tensor_profile_shape("latents", 0)[2][0]
        shape = (largest, *tuple(engine.get_tensor_shape(name))[1:])
        host = cuda.pagelocked_zeros(shape, trt.nptype(engine.get_tensor_dtype(name)))
        return _Tensor(name, host, cuda.mem_alloc(host.nbytes), is_input)

    def admit(self, persona: Persona) -> None:
        """See that the persona can be painted; on any thread. Raises PersonaError if not."""
        self._latents_of(persona)

    def open(self, stream: int) -> None:
        """Nothing is kept before the first sound."""

    def close(self, stream: int) -> None:
        self._features.close(stream)

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        """See `Backend.run`."""
        count = len(jobs)
        heard = self._features.listen(jobs)
        self._host("mel")[:count] = heard.mels
        self._host("index")[:count] = heard.index
        self._host("valid")[:count] = heard.valid
        for place, job in enumerate(jobs):
            latents = self._latents_of(job.persona)
            self._host("latents")[place] = latents[job.persona.source(job.tick)]
        try:
            with _Entered(self._context):
                self._execute(min(size for size in self.rungs if size >= count))
        except cuda.Error as error:
            raise EngineFault(f"The device failed: {error}") from error
        faces: Faces = self._host("faces")[:count]
        for broken in np.flatnonzero(self._host("broken")[:count]).tolist():
            faces[broken] = own_face(jobs[broken])
            self.invalid += 1
        return faces

    def _host(self, name: str) -> NDArray[Any]:
        return self._tensors[name].host

    def _execute(self, size: int) -> None:
        """Copy in, run and copy out a batch of one of the rungs."""
        for tensor in self._tensors.values():
            if tensor.is_input:
                shape = (size, *tensor.host.shape[1:])
                if not self._execution.set_input_shape(tensor.name, shape):
                    raise EngineFault(f"The plan does not take {tensor.name} of shape {shape}.")
                cuda.memcpy_htod_async(tensor.device, tensor.host[:size], self._stream)
        if not self._execution.execute_async_v3(self._stream.handle):
            raise EngineFault("TensorRT did not run the batch.")
        for tensor in self._tensors.values():
            if not tensor.is_input:
                cuda.memcpy_dtoh_async(tensor.host[:size], tensor.device, self._stream)
        self._stream.synchronize()

    def _latents_of(self, persona: Persona) -> Latents:
        latents = self._latents.get(persona)
        if latents is None:
            latents = stored_latents(persona, self._encoder_print)
            if latents is None:
                raise PersonaError(
                    f"The persona {persona.name} has no latents of these weights. "
                    f"Run `voipavatar models latents {persona.name}`."
                )
            self._latents[persona] = latents
        return latents

    def stop(self) -> None:
        """Give the device's memory back."""
        if self._context is None:
            return
        with _Entered(self._context):
            self._tensors.clear()
            self._execution = self._engine = self._runtime = self._stream = None
        self._context.detach()
        self._context = None
        self._latents.clear()
