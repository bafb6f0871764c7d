"""Faces that are pasted where they are painted: the torch backend's patches, and their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.audio.features import Hearing
from engine.backends.backend import BatchPipeline, Capabilities
from engine.backends.musetalk_torch import TorchBackend
from engine.backends.warp import WarpBackend
from engine.core.persona import Persona
from engine.core.types import SAMPLES_PER_FRAME, Faces, FrameJob
from engine.engine_config import EngineConfig
from engine.picture.blend import Canvas, Patch
from engine.picture.gpu_blend import GpuBlender
from engine.serving.warmup import blank_persona
from tests.engine.drawn import drawn_persona
from tests.engine.pools import ask, running, shown, talk

HEARING = Hearing(left=10, right=0)
BLOCK = 4096  # the interpreter takes its time for each program, however small
GREY = 77


class Blending(TorchBackend):
    """On a CPU, in Triton's interpreter."""

    def new_blender(self) -> GpuBlender:
        return GpuBlender(torch.device("cpu"), BLOCK)


@pytest.fixture
def backend(tiny_models: Path, one_torch_thread: None, interpreter: None) -> Iterator[TorchBackend]:
    started = Blending(
        EngineConfig(
            backend="torch", models_dir=tiny_models, device="cpu", decoder="tiny", hearing=HEARING
        )
    )
    started.rungs = (1, 2)
    started.start()
    yield started
    started.stop()


def job(persona: Persona, stream: int) -> FrameJob:
    size = HEARING.left_context + SAMPLES_PER_FRAME + HEARING.lookahead
    sound = np.random.default_rng(stream).normal(0, 3000, size).astype(np.int16)
    return FrameJob(stream, 0, stream, 0.0, persona, sound, frame=20)


def test_batches_under_way_come_with_their_own_patches(backend: TorchBackend) -> None:
    large, small = blank_persona(), replace(blank_persona(), key="small")
    small.boxes[:] = (130, 150, 341, 401)
    for persona in (large, small):
        backend.admit(persona)
    batches = [[job(large, 0), job(small, 1)], [job(small, 2)]]
    for handle, jobs in zip([backend.submit(jobs) for jobs in batches], batches, strict=True):
        faces = backend.collect(handle).copy()
        for one, face, patch in zip(jobs, faces, backend.patches(handle), strict=True):
            canvas = Canvas(one.persona)
            expected = canvas.picture(one.tick, face)
            assert patch is not None
            assert np.abs(canvas.placed(one.tick, patch).astype(int) - expected).max() <= 1
            assert np.count_nonzero(expected != one.persona.pictures[0]) > 500


def test_a_face_that_is_not_finite_is_pasted_on_the_host(
    backend: TorchBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    persona = blank_persona()
    backend.admit(persona)
    whole, broken = job(persona, 0), replace(job(persona, 1), persona=Spoiled(persona))
    backend.admit(broken.persona)
    handle = backend.submit([whole, broken])
    backend.collect(handle)
    first, second = backend.patches(handle)
    assert first is not None
    assert second is None
    assert backend.invalid == 1


def test_a_restart_brings_the_frames_back(backend: TorchBackend) -> None:
    persona, stranger = blank_persona(), replace(blank_persona(), key="stranger")
    backend.admit(persona)
    backend.stop()
    backend.start()
    handle = backend.submit([job(persona, 0)])
    backend.collect(handle)
    assert len(backend.patches(handle)) == 1
    handle = backend.submit([job(stranger, 0)])  # never admitted: pasted on the host
    backend.collect(handle)
    assert backend.patches(handle) == []


class Spoiled(Persona):
    """Latents that no face can be made of."""

    def __init__(self, like: Persona) -> None:
        self.__dict__.update(like.__dict__, key="spoiled")

    def array(self, name: str) -> Any:
        return np.full((1, 8, 32, 32), np.nan, np.float16)


class GreyPatches(WarpBackend):
    """Says that its device has pasted: every painted region is grey, the host's would not be."""

    depth = 2

    @property
    def capabilities(self) -> Capabilities:
        pipeline = BatchPipeline(self.depth, self.submit, self.done, self.collect, self.patches)
        return replace(super().capabilities, pipeline=pipeline)

    def submit(self, jobs: Sequence[FrameJob]) -> Any:
        return list(jobs), super().run(jobs).copy()

    def done(self, batch: Any) -> bool:
        return True

    def collect(self, batch: Any) -> Faces:
        faces: Faces = batch[1]
        return faces

    def patches(self, batch: Any) -> list[Patch | None]:
        sizes = [_patch_size(one.persona, one.tick) for one in batch[0]]
        return [
            np.full(size, GREY, np.uint8) if one.tick % 2 else None
            for size, one in zip(sizes, batch[0], strict=True)
        ]


def _patch_size(persona: Persona, tick: int) -> int:
    left, top, right, bottom = Canvas(persona)._region(persona.source(tick))
    return (right - left) * (bottom - top) * 3 // 2


async def test_a_device_s_patches_get_into_the_pictures() -> None:
    persona = drawn_persona()
    async with running(GreyPatches(EngineConfig())) as pool:
        stream = pool.open_stream(persona)
        talk(stream)
        ask(stream, range(6))
        for tick in range(6):
            picture = await shown(stream, tick)
            size = persona.width * persona.height
            below = np.asarray(persona.pictures[persona.source(tick)])[:size]
            changed = picture[:size][picture[:size] != below]
            assert (set(changed.tolist()) == {GREY}) == bool(tick % 2)
