"""Pasting faces: exact against the reference, and the same straight into I420."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.picture.blend import Canvas, blended, even, painted_region
from tests.engine.drawn import HEIGHT, WIDTH, drawn_persona

VECTORS = Path(__file__).parents[1] / "fixtures" / "musetalk" / "d_blending.npz"
CASES = [f"{box}_v15" for box in ("inside", "overflow", "bottom", "odd")] + ["inside_v1", "odd_v1"]


@pytest.fixture(scope="module")
def vectors() -> dict[str, NDArray[np.uint8]]:
    with np.load(VECTORS, allow_pickle=False) as file:
        return {name: file[name] for name in file}


@pytest.mark.parametrize("case", CASES)
def test_blending_is_the_references(vectors: dict[str, NDArray[np.uint8]], case: str) -> None:
    frame, face = vectors["frame_bgr"], vectors["res256_bgr"]
    box = vectors[f"{case.split('_')[0]}_box"].tolist()
    square, mask = vectors[f"{case}_crop_box"].tolist(), vectors[f"{case}_mask"]
    region = painted_region(box, square, mask)
    result = frame.copy()
    left, top, right, bottom = region
    result[top:bottom, left:right] = blended(frame, face, box, square, mask, region)
    np.testing.assert_array_equal(result, vectors[f"{case}_combined"])


def test_what_does_not_change_comes_back_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8)
    pixels = np.repeat(levels[:, None], 3, axis=1)[None].repeat(256, axis=0)
    weights = np.repeat(levels[:, None], 256, axis=1)
    whole = (0, 0, 256, 256)
    result = blended(pixels, pixels, whole, whole, weights, whole)
    np.testing.assert_array_equal(result, pixels)


def test_a_paste_is_rounded_exactly() -> None:
    """Every level over every other one, by every weight."""
    levels, whole = np.arange(256, dtype=np.uint8), (0, 0, 256, 256)
    above = np.repeat(levels[:, None], 3, axis=1)[None].repeat(256, axis=0)
    below = np.ascontiguousarray(above.swapaxes(0, 1))
    for weight in range(256):
        mask = np.full((256, 256), weight, np.uint8)
        result = blended(below, above, whole, whole, mask, whole)
        share = above.astype(np.uint32) * weight + below.astype(np.uint32) * (255 - weight)
        np.testing.assert_array_equal(result, (2 * share + 255) // 510)


def test_frames_that_are_not_kept_look_the_same() -> None:
    persona = drawn_persona()
    face = np.random.default_rng(3).integers(0, 256, (256, 256, 3), np.uint8)
    keeping, forgetful = Canvas(persona), Canvas(persona, kept=0)
    for tick in (0, 1, 0):
        np.testing.assert_array_equal(keeping.picture(tick, face), forgetful.picture(tick, face))


@pytest.mark.parametrize(
    ("region", "grown"),
    [((3, 5, 8, 11), (2, 4, 8, 12)), ((0, 0, 4, 4), (0, 0, 4, 4)), ((5, 5, 7, 7), (4, 4, 8, 8))],
)
def test_regions_grow_to_whole_chroma_samples(
    region: tuple[int, int, int, int], grown: tuple[int, int, int, int]
) -> None:
    assert even(region, 8, 12) == grown


@pytest.mark.parametrize("tick", [0, 1, 5])
def test_a_picture_is_the_whole_blended_frame_converted(tick: int) -> None:
    persona = drawn_persona()
    face = np.random.default_rng(tick).integers(0, 256, (256, 256, 3), np.uint8)
    index = persona.source(tick)
    box, square, mask = persona.boxes[index], persona.crops[index], persona.masks[index]
    whole = (0, 0, *square[2:].tolist())
    region = (max(0, square[0]), max(0, square[1]), min(WIDTH, whole[2]), min(HEIGHT, whole[3]))
    frame = persona.frames[index].copy()
    frame[region[1] : region[3], region[0] : region[2]] = blended(
        persona.frames[index], face, box, square, mask, region
    )
    expected = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).ravel()
    picture = Canvas(persona).picture(tick, face)
    np.testing.assert_array_equal(picture, expected)
    assert not np.array_equal(picture, persona.pictures[index])


def test_the_weight_leads_from_the_persona_to_the_face() -> None:
    persona = drawn_persona()
    canvas, face = Canvas(persona), np.full((256, 256, 3), 255, np.uint8)
    brightness = [int(canvas.picture(0, face, weight).sum()) for weight in (0, 64, 128, 256)]
    assert brightness == sorted(set(brightness))
    np.testing.assert_array_equal(canvas.picture(0, face, 0), persona.pictures[0])


def test_a_face_that_no_mask_lets_through_changes_nothing() -> None:
    persona = drawn_persona()
    persona = replace(persona, masks=tuple(np.zeros_like(mask) for mask in persona.masks))
    picture = Canvas(persona).picture(0, np.zeros((256, 256, 3), np.uint8))
    np.testing.assert_array_equal(picture, persona.pictures[0])
