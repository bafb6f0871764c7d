"""Faces into pictures: one thread, several threads, and a GPU; `voipavatar bench blending`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from statistics import median

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.report.columns import columns
from engine.core.persona import Persona
from engine.core.types import FACE_SIZE, Picture
from engine.models.torch_device import choose_device
from engine.musetalk.boxes import blend_squares
from engine.picture.blend import Canvas, Paste
from engine.picture.gpu_blend import GpuBlender, Patches
from engine.prepare.jaw_mask import jaw_masks
from engine.serving.warmup import blank_persona

BATCHES = (1, 4, 8, 16, 32)
BOXES = ((156, 160, 356, 400), (180, 200, 330, 380), (90, 100, 390, 450), (200, 120, 301, 239))
"""Of four personas of 512 x 512: from a head far away to one that fills the picture."""


@dataclass(frozen=True, slots=True)
class Row:
    """Median milliseconds of a batch: from faces to I420 pictures that can be sent.

    A processor needs the faces on the host: `copy_ms` is what bringing them there takes, which
    the GPU's way does without. None: there is no GPU.
    """

    batch: int
    serial_ms: float
    parallel_ms: float
    copy_ms: float | None
    device_ms: float | None  # of `gpu_ms`, until the patches are on the host
    gpu_ms: float | None


@dataclass(frozen=True, slots=True)
class Report:
    device: str
    threads: int  # of the parallel way
    rows: list[Row]


def bench(wanted: str, threads: int, seconds: float = 1.0) -> Report:
    """Measure every batch size, with OpenCV's own threads off meanwhile.

    Args:
        wanted: auto, cuda, or cpu, which leaves the GPU out.
        threads: of the parallel way.
        seconds: of each measurement, after one pass that does not count.

    Raises:
        BackendUnavailable: a GPU is asked for and there is none.
    """
    chosen = choose_device(wanted)
    device = chosen if chosen.type == "cuda" else None
    personas = [_persona(box) for box in BOXES]
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            rows = [_row(size, personas, device, pool, seconds) for size in BATCHES]
    finally:
        cv2.setNumThreads(before)
    name = "no GPU" if device is None else str(torch.cuda.get_device_name(device))
    return Report(name, threads, rows)


def table(report: Report) -> str:
    """The report as text."""
    title = f"{report.device}; 512x512, {len(BOXES)} personas in turn; milliseconds a batch"
    names = ["batch", "1 thread", f"{report.threads} threads"]
    names += ["faces' copy", "GPU, copied", "GPU, placed"]
    rows = [
        [
            str(row.batch),
            f"{row.serial_ms:.2f}",
            f"{row.parallel_ms:.2f}",
            *(_cell(value) for value in (row.copy_ms, row.device_ms, row.gpu_ms)),
        ]
        for row in report.rows
    ]
    return f"{title}\n{columns(names, rows)}"


def as_json(report: Report) -> str:
    return json.dumps(asdict(report), indent=1)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _persona(box: tuple[int, int, int, int]) -> Persona:
    boxes = np.array([box], np.int32)
    return replace(
        blank_persona(),
        key=str(box),
        boxes=boxes,
        crops=blend_squares(boxes),
        masks=tuple(jaw_masks(boxes)),
    )


def _row(
    size: int,
    personas: list[Persona],
    device: torch.device | None,
    pool: ThreadPoolExecutor,
    seconds: float,
) -> Row:
    pastes = [Paste(personas[place % len(personas)], 0) for place in range(size)]
    faces = np.random.default_rng(size).integers(0, 255, (size, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    canvases = {persona.key: Canvas(persona) for persona in personas}

    def one(place: int) -> object:
        paste = pastes[place]
        return canvases[paste.persona.key].picture(paste.tick, faces[place], paste.weight)

    serial = _milliseconds(lambda: [one(place) for place in range(size)], seconds)
    parallel = _milliseconds(lambda: list(pool.map(one, range(size))), seconds)
    copied = painted = whole = None
    if device is not None:
        blender = GpuBlender(device)
        for persona in personas:
            blender.admit(persona)
        there: Tensor = torch.from_numpy(faces).to(device)
        copied = _milliseconds(there.cpu, seconds)
        painted = _milliseconds(lambda: _on_the_host(blender.launch(there, pastes)), seconds)
        whole = _milliseconds(
            lambda: _placed(canvases, pastes, blender.launch(there, pastes)), seconds
        )
    return Row(size, serial, parallel, copied, painted, whole)


def _on_the_host(patches: Patches | None) -> NDArray[np.uint8]:
    assert patches is not None
    pixels: NDArray[np.uint8] = patches.pixels.cpu().numpy()
    return pixels


def _placed(
    canvases: dict[str, Canvas], pastes: list[Paste], patches: Patches | None
) -> list[Picture]:
    assert patches is not None
    each = zip(pastes, patches.split(_on_the_host(patches)), strict=True)
    return [canvases[paste.persona.key].placed(paste.tick, patch) for paste, patch in each]


def _milliseconds(run: Callable[[], object], seconds: float) -> float:
    """Median of a pass; the first, which may compile and fills caches, does not count."""
    run()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return 1000 * median(times)
