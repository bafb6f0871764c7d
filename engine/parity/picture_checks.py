"""Checks of picture work: crops, boxes, masks, blending, the order of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.features import Hearing
from engine.core.persona import ping_pong
from engine.core.types import SAMPLES_PER_FRAME, FrameJob
from engine.musetalk import boxes, image, masks, parsing
from engine.parity.clips import clip_jobs
from engine.parity.vectors import Comparison, Result, Vectors
from engine.picture import blend
from engine.picture.blend import Bgr
from engine.serving.scheduler import Scheduler

Box = NDArray[np.integer]


def images(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "c_image_pre_post")
    before = Comparison("image to network")
    face = image.crop_face(vectors["frame_bgr"], vectors["bbox_xyxy"].tolist())
    before.add("crop", face, vectors["crop256_lanczos4_bgr"])
    before.add("masked", image.vae_input(face[None], masked=True), vectors["vae_in_masked"])
    before.add("full", image.vae_input(face[None], masked=False), vectors["vae_in_full"])
    yield before.result


def face_boxes(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "f_bbox")
    comparison = Comparison("face boxes")
    for key in vectors.some("bbox_shift"):
        shift = int(key.removeprefix("bbox_shift"))
        found = boxes.face_boxes(vectors["landmarks68"], vectors["detector_boxes"], shift)
        comparison.add(key, found, vectors[key])
    yield comparison.result


def parser_masks(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "d_parsing")
    comparison = Comparison("parser masks")
    classes = vectors["class_map"]
    comparison.add("dilation", parsing.dilate_kernel(), vectors["jaw_dilate_kernel"])
    comparison.add("erosion", parsing.erode_kernel(), vectors["cheek_erode_kernel"])
    comparison.add("cheeks", parsing.cheek_zones(), vectors["cheek_mask_90"])
    comparison.add("jaw", parsing.parser_mask(classes), vectors["mask_jaw"])
    narrow = parsing.parser_mask(classes, "jaw", 80, 80)
    comparison.add("jaw, cheeks 80", narrow, vectors["mask_jaw_default80"])
    comparison.add("raw", parsing.parser_mask(classes, "raw"), vectors["mask_raw"])
    comparison.add("neck", parsing.parser_mask(classes, "neck"), vectors["mask_neck"])
    yield comparison.result
    network = Comparison("parser input")
    entered = parsing.parser_input(vectors["pil_input_rgb"])
    network.add("every 16th pixel", entered[:, ::16, ::16], vectors["net_input_sub16"])
    yield network.result


def blending(folder: Path) -> Iterator[Result]:
    vectors, parsed = Vectors(folder, "d_blending"), Vectors(folder, "d_parsing")
    regions = {"v15": parsed["mask_jaw"], "v1": parsed["mask_raw"]}
    names = [key.removesuffix("_box") for key in vectors.ending("_box") if "_v1" not in key]
    squares, soft = Comparison("blending: squares"), Comparison("blending: masks")
    faces, frames = Comparison("blending: resized faces"), Comparison("blending: frames")
    offline = Comparison("blending: frames of the offline script")
    for name in names:
        box = vectors[f"{name}_box"]
        square = boxes.blend_squares(box[None])[0]
        painted = _painted(vectors, box, square, np.full(_size(square), 255, np.uint8))
        _add_face(faces, name, painted, vectors[f"{name}_face_resized"], box, square)
        for version in (v for v in regions if f"{name}_{v}_mask" in vectors.keys):
            key = f"{name}_{version}"
            squares.add(key, square, vectors[f"{key}_crop_box"])
            mask = masks.blend_mask(regions[version], box.tolist())
            soft.add(key, mask, vectors[f"{key}_mask"])
            frames.add(key, _painted(vectors, box, square, mask), vectors[f"{key}_combined"])
            if f"{key}_combined_offline_get_image" in vectors.keys:
                mask = masks.blend_mask(regions[version], box.tolist(), masks.BLUR_OFFLINE)
                expected = vectors[f"{key}_combined_offline_get_image"]
                offline.add(key, _painted(vectors, box, square, mask), expected)
    yield from (part.result for part in (squares, soft, faces, frames, offline))


def _add_face(
    faces: Comparison, name: str, painted: Bgr, resized: Bgr, box: Box, square: Box
) -> None:
    """Compare what can be seen of a resized face: inside the frame, and inside the square."""
    x1, y1, x2, y2 = box.tolist()
    faces.add(f"size of {name}", resized.shape[:2], (y2 - y1, x2 - x1))
    left, top = np.maximum(np.maximum(box[:2], square[:2]), 0).tolist()
    edge = np.array(painted.shape[1::-1])
    right, bottom = np.minimum(np.minimum(box[2:], square[2:]), edge).tolist()
    seen = resized[top - y1 : bottom - y1, left - x1 : right - x1]
    faces.add(name, painted[top:bottom, left:right], seen)


def _size(square: Box) -> tuple[int, int]:
    return int(square[3] - square[1]), int(square[2] - square[0])


def _painted(vectors: Vectors, box: Box, square: Box, mask: NDArray[np.uint8]) -> Bgr:
    """The frame of the vectors with the generated face in it, on the way that serves."""
    frame, edges, around = vectors["frame_bgr"].copy(), box.tolist(), square.tolist()
    height, width = frame.shape[:2]
    region = blend.even(blend.painted_region(edges, around, mask), width, height)
    left, top, right, bottom = region
    patch = blend.blended(frame, vectors["res256_bgr"], edges, around, mask, region)
    frame[top:bottom, left:right] = patch
    return frame


def cycle(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "e_mirror_cycle")
    order, sizes = Comparison("ping-pong cycle"), Comparison("batches")
    for key in vectors.some("cycle_N"):
        count = int(key.removeprefix("cycle_N"))
        expected = vectors[key]
        order.add(key, [ping_pong(k, count) for k in range(len(expected))], expected)
        batches = vectors[f"batches_N{count}"]
        sizes.add(key, _batches(len(expected), int(batches[0])), batches)
    yield order.result
    yield sizes.result


def _batches(frames: int, rung: int) -> list[int]:
    """Sizes of the batches that the scheduler makes of a whole clip on an idle device."""
    scheduler: Scheduler[FrameJob] = Scheduler((rung,))
    samples = frames * SAMPLES_PER_FRAME + 1  # see `picture_count`
    for job in clip_jobs(np.zeros(samples, np.int16), Hearing()):
        scheduler.add(job)
    taken = []
    while len(scheduler):
        taken.append(len(scheduler.take(-math.inf).jobs))  # a clip has all the time
    return taken
