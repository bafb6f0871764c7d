"""What a backend can do on this machine, measured before anybody is let in."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.base import Backend, Pipelined
from engine.blend import Canvas
from engine.musetalk.boxes import blend_squares
from engine.persona import Persona
from engine.scheduler import Scheduler
from engine.types import FACE_SIZE, SAMPLES_PER_FRAME, FrameJob

SIDE = 512
REPEATS = 3  # the best counts: others may be using the machine while it starts
LATENTS = (1, 8, 32, 32)  # of the face boxes; only their shape matters here


@dataclass(frozen=True, slots=True)
class Measured:
    """Of 512 x 512 pictures, blending included."""

    latency_s: float  # from a job to its picture, alone
    fps: float  # pictures a second, at the best batch size
    cpu_s: float  # processor time a picture, on all cores together


class _Blank(Persona):
    """A persona without a folder, for warming up."""

    def array(self, name: str) -> NDArray[Any]:
        return np.zeros(LATENTS, np.float16)


def blank_persona() -> Persona:
    """A grey persona of one frame, 512 x 512, with a face box of usual size."""
    frames = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    box = np.array([[156, 160, 356, 400]], np.int32)
    square = blend_squares(box)
    mask = np.zeros((square[0, 3] - square[0, 1],) * 2, np.uint8)
    mask[mask.shape[0] // 2 : -mask.shape[0] // 5, 80:-80] = 255
    picture = cv2.cvtColor(frames[0], cv2.COLOR_BGR2YUV_I420).reshape(1, -1)
    mouth = np.array([[256, 330, 40, 0]], np.float32)
    return _Blank(
        name="blank",
        display_name="Blank",
        key="blank",
        folder=Path(),
        frames=frames,
        pictures=np.asarray(picture, np.uint8),
        boxes=box,
        crops=square,
        mouths=mouth,
        masks=(mask,),
        settings={},
    )


def measure(backend: Backend, scheduler: Scheduler[Any]) -> Measured:
    """Run every rung, and tell the scheduler its time. On the device's own thread."""
    persona = blank_persona()
    for stream in range(backend.rungs[-1]):
        backend.open(stream)
    canvas = Canvas(persona)
    paste_s = min(_paste(canvas) for _ in range(REPEATS))
    best_s, cpu_s = np.inf, np.inf
    for rung in backend.rungs:
        jobs = [_job(backend, persona, stream) for stream in range(rung)]
        run_s, used_s = zip(*(_run(backend, jobs) for _ in range(REPEATS)), strict=True)
        scheduler.ran(rung, min(run_s))
        best_s = min(best_s, min(run_s) / rung)
        cpu_s = min(cpu_s, min(used_s) / rung)
    for stream in range(backend.rungs[-1]):
        backend.close(stream)
    alone = scheduler.run_time(1) + paste_s
    # Where batches overlap, faces are pasted while the next batch runs.
    each_s = max(best_s, paste_s) if isinstance(backend, Pipelined) else best_s + paste_s
    return Measured(alone, float(1 / each_s), float(cpu_s + paste_s))


def _job(backend: Backend, persona: Persona, stream: int) -> FrameJob:
    size = backend.left_context + SAMPLES_PER_FRAME + backend.lookahead
    noise = np.random.default_rng(stream).normal(0, 3000, size).astype(np.int16)
    # Far into a segment, so that the whole window is speech.
    frame = 1 + backend.left_context // SAMPLES_PER_FRAME
    return FrameJob(stream, 0, 0, 0.0, persona, noise, frame=frame)


def _run(backend: Backend, jobs: list[FrameJob]) -> tuple[float, float]:
    begun, used = time.perf_counter(), time.process_time()
    backend.run(jobs)
    return time.perf_counter() - begun, time.process_time() - used


def _paste(canvas: Canvas) -> float:
    begun = time.perf_counter()
    canvas.picture(0, np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8))
    return time.perf_counter() - begun
