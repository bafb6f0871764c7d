"""What a backend can do on this machine, measured before anybody is let in."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.core.persona import Persona
from engine.core.types import FACE_SIZE, SAMPLES_PER_FRAME, FrameJob
from engine.musetalk.boxes import blend_squares
from engine.picture.blend import Canvas
from engine.serving import run_times
from engine.serving.run_times import RunTime, RunTimes
from engine.serving.scheduler import Scheduler

log = logging.getLogger(__name__)

SIDE = 512
REPEATS = 3  # the best counts: others may be using the machine while it starts
TOLERANCE = 0.3  # share by which a kept run time may be off before it is measured anew
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
        # As busy as real ones: a GPU that is held to a power runs zeros faster (h200.md).
        return np.random.default_rng(0).standard_normal(LATENTS).astype(np.float16)


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


def measure(backend: Backend, scheduler: Scheduler[Any], models: Path | None = None) -> Measured:
    """Tell the scheduler the time of every rung. On the device's own thread.

    Every rung is run, unless the run times of this very backend were kept in the models folder
    and its largest rung still takes as long. The warp backend has none kept: it is measured in
    less than a second.
    """
    persona = blank_persona()
    pipeline = backend.capabilities.pipeline
    if pipeline is not None and pipeline.patches is not None:
        backend.admit(persona)
    for stream in range(backend.rungs[-1]):
        backend.open(stream)
    canvas = Canvas(persona)
    paste_s = min(_paste(canvas) for _ in range(REPEATS))
    best_s, cpu_s = np.inf, np.inf
    for rung, time_of in _run_times(backend, persona, models).items():
        scheduler.ran(rung, time_of.run_s)
        best_s = min(best_s, time_of.run_s / rung)
        cpu_s = min(cpu_s, time_of.cpu_s / rung)
    for stream in range(backend.rungs[-1]):
        backend.close(stream)
    alone = scheduler.run_time(1) + paste_s
    # Where batches overlap, the thread pastes and prepares while the device runs; whichever of the
    # two has more to do is what bounds them.
    each_s = max(best_s, cpu_s + paste_s) if pipeline is not None else best_s + paste_s
    return Measured(alone, float(1 / each_s), float(cpu_s + paste_s))


def _run_times(backend: Backend, persona: Persona, models: Path | None) -> RunTimes:
    """Of every rung: kept ones where they still hold, else measured, and kept."""
    identify = backend.capabilities.identity
    if models is None or identify is None:
        return {rung: _run_time(backend, persona, rung) for rung in backend.rungs}
    identity, largest = identify(), backend.rungs[-1]
    kept = run_times.read(models, identity, backend.rungs)
    if kept is not None:
        now = _run_time(backend, persona, largest)
        if abs(now.run_s / kept[largest].run_s - 1) <= TOLERANCE:
            return kept
        log.warning(
            "a batch of %d takes %.1f ms, %.1f ms were kept: all are measured again",
            *(largest, now.run_s * 1000, kept[largest].run_s * 1000),
        )
    times = {rung: _run_time(backend, persona, rung) for rung in backend.rungs}
    run_times.write(models, identity, times)
    return times


def _run_time(backend: Backend, persona: Persona, rung: int) -> RunTime:
    jobs = [_job(backend, persona, stream) for stream in range(rung)]
    run_s, used_s = zip(*(_run(backend, jobs) for _ in range(REPEATS)), strict=True)
    return RunTime(min(run_s), min(used_s))


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
