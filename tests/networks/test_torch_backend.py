"""MuseTalk in PyTorch on a CPU: tiny random networks behind the engine's seam."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton

from engine.audio.features import Hearing
from engine.backends.musetalk_torch import TorchBackend
from engine.core.engine_errors import BackendUnavailable, EngineFault, PersonaError
from engine.core.persona import Persona
from engine.core.types import FACE_SIZE, SAMPLES_PER_FRAME, FrameJob
from engine.engine_config import EngineConfig
from engine.models.header import fingerprint
from engine.models.layout import NETWORKS
from engine.models.torch_device import keep_kernels
from engine.offline import render
from engine.picture.encode_latents import prepare_latents
from engine.picture.latents import latents_name
from engine.serving.pool import EnginePool
from engine.serving.warmup import blank_persona

pytestmark = pytest.mark.usefixtures("one_torch_thread")

HEARING = Hearing(left=10, right=0)


def config(models: Path, **changes: Any) -> EngineConfig:
    base = EngineConfig(
        backend="torch", models_dir=models, device="cpu", decoder="tiny", hearing=HEARING
    )
    return replace(base, **changes)


@pytest.fixture(scope="module")
def backend(tiny_models: Path) -> Iterator[TorchBackend]:
    started = TorchBackend(config(tiny_models))
    started.rungs = (1, 2)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    """Three frames that differ, in a folder that can be written to."""
    blank = blank_persona()
    frames = np.repeat(blank.frames, 3, axis=0)
    frames[:, 200:380, 180:340] = np.random.default_rng(3).integers(
        0, 255, (3, 180, 160, 3), np.uint8
    )
    return Persona(
        name="three",
        display_name="Three",
        key=str(tmp_path),
        folder=tmp_path,
        frames=frames,
        pictures=np.repeat(blank.pictures, 3, axis=0),
        boxes=np.repeat(blank.boxes, 3, axis=0),
        crops=np.repeat(blank.crops, 3, axis=0),
        mouths=np.repeat(blank.mouths, 3, axis=0),
        masks=blank.masks * 3,
        settings={},
    )


def job(persona: Persona, stream: int, tick: int = 0) -> FrameJob:
    size = HEARING.left_context + SAMPLES_PER_FRAME + HEARING.lookahead
    sound = np.random.default_rng(stream).normal(0, 3000, size).astype(np.int16)
    return FrameJob(stream, 0, tick, 0.0, persona, sound, frame=20)


def test_a_face_does_not_depend_on_who_is_in_its_batch(
    backend: TorchBackend, persona: Persona
) -> None:
    alone = [backend.run([job(persona, stream, stream)]).copy()[0] for stream in (0, 1)]
    for stream in (0, 1):
        backend.close(stream)
    together = backend.run([job(persona, stream, stream) for stream in (0, 1)])
    assert together.shape == (2, FACE_SIZE, FACE_SIZE, 3)
    for seen, expected in zip(together, alone, strict=True):
        assert np.abs(seen.astype(int) - expected).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).mean() > 1


def test_the_sound_and_the_pose_both_change_the_face(
    backend: TorchBackend, persona: Persona
) -> None:
    first = backend.run([job(persona, 2)]).copy()
    other_pose = backend.run([job(persona, 2, tick=1)]).copy()
    other_sound = backend.run([job(persona, 3)])
    assert np.abs(first.astype(int) - other_pose).mean() > 0.1
    assert np.abs(first.astype(int) - other_sound).max() >= 1


def test_two_batches_under_way_come_back_in_their_own_places(
    backend: TorchBackend, persona: Persona
) -> None:
    expected = [backend.run([job(persona, 4, tick)]).copy() for tick in (0, 1)]
    tickets = [backend.submit([job(persona, 4, tick)]) for tick in (0, 1)]
    for ticket, faces in zip(tickets, expected, strict=True):
        assert np.array_equal(backend.collect(ticket), faces)


def test_a_face_that_is_not_finite_is_the_persona_s_own(
    tiny_models: Path, persona: Persona
) -> None:
    started = TorchBackend(config(tiny_models))
    started.rungs = (2,)
    started.start()
    broken = prepare_latents(persona, fingerprint(tiny_models, ("kl",)), vae(tiny_models), nothing)
    spoiled = np.array(broken)
    spoiled[0] = np.nan
    np.save(persona.folder / f"{latents_name(fingerprint(tiny_models, ('kl',)))}.npy", spoiled)
    faces = started.run([job(persona, 0, tick=0), job(persona, 1, tick=1)])
    x1, y1, x2, y2 = persona.boxes[0]
    own = persona.frames[0, y1:y2, x1:x2].mean()
    assert started.invalid == 1
    assert abs(float(faces[0].mean()) - own) < 3
    assert faces[1].std() > 0


def test_latents_go_with_their_persona(backend: TorchBackend, persona: Persona) -> None:
    """Each session maps its persona anew; what is kept of those must not grow."""
    other = replace(persona)
    kept = weakref.ref(other)
    backend.admit(other)
    backend.run([job(other, 0)])
    assert other in backend._latents
    del other
    for _ in range(2):  # batches know whose they were until the next
        backend.run([job(persona, 0)])
    gc.collect()
    assert kept() is None


def vae(models: Path) -> Any:
    from engine.models import networks

    return lambda: networks.load(models, "kl", torch.float32, torch.device("cpu"))


def nothing(_done: int, _all: int) -> None:
    """Nobody watches."""


def test_latents_go_on_where_a_run_broke_off(tiny_models: Path, persona: Persona) -> None:
    long = replace(
        persona, frames=np.repeat(persona.frames, 2, axis=0), boxes=persona.boxes[[0] * 6]
    )
    whole = np.array(prepare_latents(long, "whole", vae(tiny_models), nothing))

    def stop(done: int, _all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_latents(long, "again", vae(tiny_models), stop)
    steps: list[int] = []
    again = prepare_latents(long, "again", vae(tiny_models), lambda done, _all: steps.append(done))
    assert steps == [6]
    assert np.array_equal(again, whole)
    assert whole.shape == (6, 8, 32, 32)
    assert not np.array_equal(whole[0, :4], whole[0, 4:])


def test_latents_that_are_not_finite_are_refused(tiny_models: Path, persona: Persona) -> None:
    broken = vae(tiny_models)()
    with torch.inference_mode():
        broken.quant_conv.bias.fill_(float("nan"))
    with pytest.raises(PersonaError, match="not finite"):
        prepare_latents(persona, "nan", lambda: broken, nothing)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models_dir": Path("nowhere")}, "init-random"),
        ({"version": "v2"}, "MuseTalk is v15 or v1"),
        ({"device": "cuda"}, "finds no NVIDIA GPU"),
    ],
)
def test_what_is_missing_is_said_before_anybody_is_let_in(
    tiny_models: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BackendUnavailable, match=sentence):
        TorchBackend(config(tiny_models, **changes)).start()


def test_weights_of_another_shape_are_refused(tiny_models: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.mkdir()
    for network in NETWORKS.values():
        source = network.ready_path(tiny_models)
        (ready / source.name).write_bytes(source.read_bytes())
    content = (ready / "unet-v15.safetensors").read_bytes()
    # The header is JSON inside JSON; the same length keeps the offsets right.
    changed = content.replace(b"[16, 32]", b"[16, 48]")
    assert changed != content
    (ready / "unet-v15.safetensors").write_bytes(changed)
    with pytest.raises(BackendUnavailable, match="does not fit its configuration"):
        TorchBackend(config(tmp_path)).start()


def test_compiled_kernels_are_kept_beside_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    keep_kernels(tmp_path)
    assert triton.knobs.cache.dir == "elsewhere"
    monkeypatch.delenv("TRITON_CACHE_DIR")
    keep_kernels(tmp_path / "absent")
    assert not triton.knobs.cache.dir.startswith(str(tmp_path))
    keep_kernels(tmp_path)
    assert triton.knobs.cache.dir == str(tmp_path / "kernels")


def test_a_device_that_fails_is_an_engine_fault(tiny_models: Path, persona: Persona) -> None:
    started = TorchBackend(config(tiny_models))
    started.rungs = (1,)
    started.start()
    with torch.inference_mode():  # stands for a broken device, which is hard to come by
        started.static_inputs(1).latents.resize_(1, 3, 2, 2)
    with pytest.raises(EngineFault, match="The device failed"):
        started.run([job(persona, 0)])
    started.start()
    assert started.run([job(persona, 0)]).shape == (1, FACE_SIZE, FACE_SIZE, 3)


async def test_a_pool_renders_a_sound_with_it(tiny_models: Path, persona: Persona) -> None:
    pool = EnginePool(config(tiny_models))
    await asyncio.to_thread(pool.start)
    assert pool.backend_name == "torch"
    rng = np.random.default_rng(1)
    sound = rng.normal(0, 6000, 6 * SAMPLES_PER_FRAME).astype(np.int16)
    pictures = [picture async for picture in render(pool, persona, sound)]
    stats = pool.stats()
    await pool.aclose()
    assert len(pictures) == 6
    assert stats.frames == 6
    assert not np.array_equal(pictures[0], persona.pictures[0])


def test_it_says_all_that_its_run_times_depend_on(backend: TorchBackend, tiny_models: Path) -> None:
    own = backend.identity()
    assert own == TorchBackend(config(tiny_models)).identity()
    assert own["torch"] == torch.__version__
    for other in ({"decoder": "kl"}, {"version": "v1"}, {"hearing": Hearing(left=11, right=0)}):
        assert TorchBackend(config(tiny_models, **other)).identity() != own
