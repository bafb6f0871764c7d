"""Pasting on a GPU, in Triton's own interpreter, against the CPU's exact arithmetic."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from engine.core.persona import Persona
from engine.core.types import FACE_SIZE
from engine.musetalk.boxes import blend_squares
from engine.picture.blend import FULL, Canvas, Paste
from engine.picture.gpu_blend import GpuBlender
from engine.prepare.jaw_mask import jaw_masks
from tests.engine.drawn import drawn_persona

pytestmark = pytest.mark.usefixtures("one_torch_thread", "interpreter")

BLOCK = 4096  # the interpreter takes its time for each program, however small
SOURCE = np.random.default_rng(5)


def noisy(box: tuple[int, int, int, int], key: str) -> Persona:
    """Two frames of noise, with another box each."""
    persona = drawn_persona(frames=2)
    boxes = np.array([box, [edge + 3 for edge in box]], np.int32)
    frames = SOURCE.integers(0, 255, persona.frames.shape, np.uint8)
    pictures = [cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).ravel() for frame in frames]
    return replace(
        persona,
        key=key,
        frames=frames,
        pictures=np.stack(pictures).astype(np.uint8),
        boxes=boxes,
        crops=blend_squares(boxes),
        masks=tuple(jaw_masks(boxes)),
    )


def blended(pastes: list[Paste], faces: np.ndarray) -> list[np.ndarray]:
    blender = GpuBlender(torch.device("cpu"), BLOCK)
    for paste in pastes:
        blender.admit(paste.persona)
    patches = blender.launch(torch.from_numpy(faces), pastes)
    assert patches is not None
    each = zip(pastes, patches.split(patches.pixels.numpy()), strict=True)
    return [Canvas(paste.persona).placed(paste.tick, patch) for paste, patch in each]


@pytest.fixture(scope="module")
def pastes() -> list[Paste]:
    """Boxes smaller than a face, of odd size, at the frame's edge; and a mouth half closed."""
    small, edge = noisy((100, 90, 151, 153), "small"), noisy((0, 1, 64, 68), "edge")
    return [Paste(small, 0), Paste(edge, 1), Paste(small, 3, 97), Paste(edge, 0, 0)]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return SOURCE.integers(0, 255, (4, FACE_SIZE, FACE_SIZE, 3), np.uint8)


def test_a_mixed_batch_is_what_the_cpu_makes_of_it(pastes: list[Paste], faces: np.ndarray) -> None:
    seen = blended(pastes, faces)
    for paste, face, picture in zip(pastes, faces, seen, strict=True):
        expected = Canvas(paste.persona).picture(paste.tick, face, paste.weight)
        assert np.abs(picture.astype(int) - expected).max() <= 1
        own = paste.persona.pictures[paste.persona.source(paste.tick)]
        painted = np.count_nonzero(expected != own)
        assert painted > 500 or paste.weight == 0


def test_a_face_larger_than_it_was_painted(faces: np.ndarray) -> None:
    large = noisy((20, 10, 290, 270), "large")
    (picture,) = blended([Paste(large, 0)], faces[:1])
    expected = Canvas(large).picture(0, faces[0], FULL)
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_personas_that_were_not_used_for_long_are_forgotten(
    pastes: list[Paste], faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, edge = pastes[0], pastes[1]
    blender = GpuBlender(torch.device("cpu"), BLOCK)
    monkeypatch.setattr("engine.picture.gpu_blend.KEPT", 1)
    blender.admit(small.persona)
    assert blender.launch(torch.from_numpy(faces), [edge]) is None
    blender.admit(edge.persona)
    assert blender.launch(torch.from_numpy(faces), [small, edge]) is None
    assert blender.launch(torch.from_numpy(faces), [edge]) is not None


def test_a_mask_that_lets_nothing_through_changes_nothing(faces: np.ndarray) -> None:
    persona = noisy((100, 90, 151, 153), "closed")
    shut = replace(persona, masks=tuple(np.zeros_like(mask) for mask in persona.masks))
    (picture,) = blended([Paste(shut, 1)], faces[:1])
    assert np.array_equal(picture, shut.pictures[1])
