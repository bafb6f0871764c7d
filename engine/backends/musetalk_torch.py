"""MuseTalk's networks in PyTorch: graphs and half precision on a GPU, plain on a CPU."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch

from engine.audio.features import Features
from engine.backends.backend import BatchPipeline, Capabilities
from engine.backends.batches import Slot
from engine.backends.fallback import own_face
from engine.backends.torch_rung import (
    Inputs,
    Networks,
    Outputs,
    Rung,
    in_pytorch,
    new_inputs,
    new_outputs,
)
from engine.core.engine_errors import DeviceLost, EngineError, EngineFault
from engine.core.persona import Persona
from engine.core.types import Faces, FrameJob
from engine.engine_config import EngineConfig
from engine.models.device_failures import fault_of, refusal_of
from engine.models.header import fingerprint
from engine.models.layout import missing, needed
from engine.models.pipeline import load_pipeline
from engine.models.torch_device import choose_device, described, dtype_of, keep_kernels
from engine.picture.blend import Patch
from engine.picture.encode_latents import encode_persona
from engine.picture.latents import Latents

if TYPE_CHECKING:
    from engine.picture.gpu_blend import GpuBlender

log = logging.getLogger(__name__)

GPU_RUNGS = (1, 2, 4, 8, 16, 24, 32)
CPU_RUNGS = (1, 2, 4)
SLOTS = 2
"""Batches on their way at once: one runs while the other is copied in or out."""


class TorchBackend:
    """See `engine.backends.backend.Backend`.

    `submit` and `collect` are `run` in halves, for a caller that prepares a batch while another
    runs; at most two batches may be under way, collected in the order of their submission.

    Attributes:
        invalid: faces that were not finite and were replaced by the persona's own.
    """

    name = "torch"

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self.device = choose_device(config.device)
        self.dtype = dtype_of(self.device)
        self._names = needed(config.version, config.decoder)
        self._features = Features(config.hearing)
        self._latents: WeakKeyDictionary[Persona, Latents] = WeakKeyDictionary()
        self._blender: GpuBlender | None = None
        self._admitted: WeakSet[Persona] = WeakSet()
        self._networks: Networks | None = None
        self._rungs: dict[int, Rung] = {}
        self._slots: list[Slot] = []
        self._turn = 0
        self._lost = False
        self.left_context = config.hearing.left_context
        self.lookahead = config.hearing.lookahead
        self.rungs: tuple[int, ...] = GPU_RUNGS if self.device.type == "cuda" else CPU_RUNGS
        self.depth = SLOTS if self.device.type == "cuda" else 1
        self.invalid = 0

    @property
    def capabilities(self) -> Capabilities:
        pipeline = BatchPipeline(self.depth, self.submit, self.done, self.collect, self.patches)
        return Capabilities(pipeline, identity=self.identity)

    def start(self) -> None:
        """Load, and on a GPU capture a graph a rung. Raises BackendUnavailable."""
        missing(self._config.models_dir, self._names)
        try:
            with torch.inference_mode():
                self._prepare()
        except RuntimeError as error:
            self.stop()
            raise self.refusal(error) from error

    def refusal(self, error: RuntimeError) -> EngineError:
        """Why it does not start, in a sentence, with what mends it."""
        return refusal_of(error, self.device)

    def _prepare(self) -> None:
        config, device = self._config, self.device
        cuda = device.type == "cuda"
        torch.backends.cudnn.benchmark = True
        if cuda:
            keep_kernels(config.models_dir)
        log.info("loading the networks onto %s", device)
        # Kept: the graphs read its weights, but do not hold them.
        self._networks = self.load_networks()
        largest, rows = self.rungs[-1], config.hearing.rows
        inputs = new_inputs(largest, rows, self.dtype, device, pin=False)
        pool = torch.cuda.graph_pool_handle() if cuda else None
        for done, size in enumerate(reversed(self.rungs)):
            log.info(
                "batches of %d: kernels, algorithms and a graph (%d of %d)",
                *(size, done + 1, len(self.rungs)),
            )
            self._rungs[size] = Rung(self._networks, inputs.first(size), pool)
        host = torch.device("cpu")
        self._slots = [
            Slot(
                new_inputs(largest, rows, self.dtype, host, pin=cuda),
                new_inputs(largest, rows, self.dtype, device, pin=False) if cuda else None,
                new_outputs(largest, device, pin=False) if cuda else None,
                new_outputs(largest, host, pin=cuda),
            )
            for _ in range(SLOTS)
        ]
        self._copies = torch.cuda.Stream() if cuda else None
        self._blender = self.new_blender()
        for persona in list(self._admitted):  # before the device was restarted
            self._bring_frames(persona)

    def load_networks(self) -> Networks:
        """What runs the networks, and with it the batch sizes that it takes (`rungs`)."""
        config = self._config
        return in_pytorch(
            load_pipeline(
                config.models_dir, config.version, config.decoder, self.dtype, self.device
            )
        )

    def new_blender(self) -> GpuBlender | None:
        """What pastes faces where they are painted. A CPU pastes with OpenCV, like any backend."""
        if self.device.type != "cuda":
            return None
        from engine.picture.gpu_blend import GpuBlender  # Triton's kernels

        return GpuBlender(self.device)

    def identity(self) -> dict[str, str]:
        """See `Capabilities`."""
        config = self._config
        return {
            **described(self.device),
            "weights": fingerprint(config.models_dir, self._names),
            "networks": f"{config.version} {config.decoder} {self.dtype}",
            "hearing": f"{config.hearing.rows} rows",
        }

    def admit(self, persona: Persona) -> None:
        """Have the persona's latents before it is painted; on any thread. Raises PersonaError."""
        self._latents_of(persona)
        self._admitted.add(persona)
        self._bring_frames(persona)

    def _bring_frames(self, persona: Persona) -> None:
        """To where its faces are pasted; without room there, they are pasted on the host."""
        if self._blender is not None:
            with suppress(RuntimeError):
                self._blender.admit(persona)

    def open(self, stream: int) -> None:
        """Nothing is kept before the first sound."""

    def close(self, stream: int) -> None:
        self._features.close(stream)

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        """See `Backend.run`."""
        return self.collect(self.submit(jobs))

    def submit(self, jobs: Sequence[FrameJob]) -> Slot:
        """Start a batch. Raises EngineFault when the device failed."""
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % len(self._slots)
        slot.jobs = tuple(jobs)
        try:
            with torch.inference_mode():
                slot.listen(self._features, jobs)
                slot.pose([self._latent(job) for job in jobs])
                self._launch(slot, min(size for size in self.rungs if size >= len(jobs)))
        except RuntimeError as error:
            raise self._failed(error) from error
        return slot

    def done(self, slot: Slot) -> bool:
        """See `BatchPipeline`."""
        try:
            return slot.done is None or bool(slot.done.query())
        except RuntimeError:
            return True  # collecting it says why

    def collect(self, slot: Slot) -> Faces:
        """Wait for a batch. Raises EngineFault when the device failed."""
        try:
            if slot.done is not None:
                slot.done.synchronize()
        except RuntimeError as error:
            raise self._failed(error) from error
        count = len(slot.jobs)
        faces: Faces = slot.outputs.faces.numpy()[:count]
        for place in np.flatnonzero(slot.outputs.bad.numpy()[:count]):
            faces[place] = own_face(slot.jobs[place])
            self.invalid += 1
        return faces

    def patches(self, slot: Slot) -> list[Patch | None]:
        """See `BatchPipeline`."""
        if slot.patches is None or slot.pasted is None:
            return []
        bad = slot.outputs.bad.numpy()
        each = enumerate(slot.patches.split(slot.pasted.numpy()))
        return [None if bad[place] else patch for place, patch in each]

    def _failed(self, error: RuntimeError) -> EngineFault:
        fault = fault_of(error)
        self._lost = isinstance(fault, DeviceLost)
        return fault

    def static_inputs(self, size: int) -> Inputs:
        """Device buffers of a rung, for measurements."""
        return self._rungs[size].inputs

    def _launch(self, slot: Slot, size: int) -> None:
        rung = self._rungs[size]
        if slot.device_inputs is None or slot.device_outputs is None or self._copies is None:
            rung.inputs.copy_(slot.inputs.first(size))
            slot.outputs.first(size).copy_(rung.run())
            if self._blender is not None:
                slot.paste(self._blender)
                slot.fetch_patches()
            return
        main = torch.cuda.current_stream()
        with torch.cuda.stream(self._copies):
            slot.device_inputs.first(size).copy_(slot.inputs.first(size))
        main.wait_stream(self._copies)
        rung.inputs.copy_(slot.device_inputs.first(size))
        results: Outputs = slot.device_outputs.first(size)
        results.copy_(rung.run())
        if self._blender is not None:
            slot.paste(self._blender)
        self._copies.wait_stream(main)
        with torch.cuda.stream(self._copies):
            slot.outputs.first(size).copy_(results)
            slot.fetch_patches()
            # Waited for asleep: a thread that spins for the device takes a core, and where it goes
            # before ordinary work, whatever else that core was to do.
            slot.done = self._copies.record_event(torch.cuda.Event(blocking=True))

    def _latent(self, job: FrameJob) -> Any:
        persona = job.persona
        return self._latents_of(persona)[persona.source(job.tick)]

    def _latents_of(self, persona: Persona) -> Latents:
        """Usually read from the persona's folder; made here when nobody made them before."""
        latents = self._latents.get(persona)
        if latents is None:
            latents = encode_persona(persona, self._config.models_dir, self.device.type)
            self._latents[persona] = latents
        return latents

    def stop(self) -> None:
        """Give the device's memory back."""
        if self._lost:
            # Freeing page-locked memory asks the device, whose answer would end the process before
            # its sessions have been told. It is freed with the process.
            for kept in (self._rungs, self._slots, self._networks):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
        self._rungs, self._slots = {}, []
        self._latents.clear()
        self._networks = self._blender = None
        self._turn = 0
        if self.device.type == "cuda":
            with suppress(RuntimeError):  # of a device that is lost
                torch.cuda.empty_cache()
