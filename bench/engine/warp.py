"""Pictures a second of the warp backend on one core.

`voipavatar bench warp` prints `table(bench(persona, speech))`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2

from bench.report.columns import columns
from engine.audio.silence import SilenceGate
from engine.audio.speech import Speech
from engine.backends.warp import WarpBackend
from engine.core.persona import Persona
from engine.core.types import FrameJob, Pcm
from engine.engine_config import EngineConfig
from engine.picture.compose import Composer


@dataclass(frozen=True, slots=True)
class Row:
    """A batch size, over every talking frame of the speech. Times are the processor's."""

    batch: int
    paint_ms: float  # a face: windows of sound to 256 x 256 BGR
    paste_ms: float  # a picture: face into the frame, as I420
    faces_fps: float  # of the backend alone, on one core
    pictures_fps: float  # of the whole path, on one core
    wall_fps: float  # of the whole path by the clock: less where others use the machine


@dataclass(frozen=True, slots=True)
class Report:
    persona: str
    width: int
    height: int
    frames: int  # talking frames of the speech, painted again and again
    rows: list[Row]


def bench(persona: Persona, speech: Pcm, seconds: float = 2.0) -> Report:
    """Measure every rung in this thread, with OpenCV's own threads off meanwhile.

    Args:
        persona: prepared; its size is what is measured.
        speech: (n,) int16 mono at 16 kHz; only frames above the silence gate count.
        seconds: of processor time a rung, at least one pass over the speech after a first
            one that doesn't count.

    Raises:
        ValueError: the speech has no talking frame.
    """
    backend = WarpBackend(EngineConfig(backend="warp"))
    backend.start()
    jobs = _jobs(backend, persona, speech)
    if not jobs:
        raise ValueError("The speech is silent.")
    with _one_thread():
        rows = [_row(backend, jobs, rung, seconds) for rung in backend.rungs]
    return Report(persona.name, persona.width, persona.height, len(jobs), rows)


def table(report: Report) -> str:
    """The report as text."""
    title = (
        f"warp, {report.width}x{report.height}, persona {report.persona}, "
        f"{report.frames} talking frames, one core"
    )
    rows = [
        [
            str(row.batch),
            f"{row.paint_ms:.2f}",
            f"{row.paste_ms:.2f}",
            f"{row.faces_fps:.0f}",
            f"{row.pictures_fps:.0f}",
            f"{row.wall_fps:.0f}",
        ]
        for row in report.rows
    ]
    names = ["batch", "paint ms", "paste ms", "faces/s", "pictures/s", "by the clock"]
    return f"{title}\n{columns(names, rows)}"


def _jobs(backend: WarpBackend, persona: Persona, speech: Pcm) -> list[FrameJob]:
    heard = Speech(backend.left_context, backend.lookahead)
    heard.push(speech)
    heard.end_segment()
    windows = [heard.window(frame) for frame in range(heard.frames)]
    gate = SilenceGate(EngineConfig().silence_rms)
    return [
        FrameJob(0, 0, tick, 0.0, persona, window.audio)
        for tick, window in enumerate(windows)
        if not gate.silent(window.rms)
    ]


def _row(backend: WarpBackend, jobs: list[FrameJob], rung: int, seconds: float) -> Row:
    composer = Composer(EngineConfig().close_frames, 0)
    _pass(backend, composer, jobs, rung)  # fills the caches
    paint = paste = wall = 0.0
    pictures = 0
    while paint + paste < seconds:
        begun = time.perf_counter()
        painted, pasted = _pass(backend, composer, jobs, rung)
        wall += time.perf_counter() - begun
        paint, paste, pictures = paint + painted, paste + pasted, pictures + len(jobs)
    return Row(
        batch=rung,
        paint_ms=1000 * paint / pictures,
        paste_ms=1000 * paste / pictures,
        faces_fps=pictures / paint,
        pictures_fps=pictures / (paint + paste),
        wall_fps=pictures / wall,
    )


def _pass(
    backend: WarpBackend, composer: Composer, jobs: list[FrameJob], rung: int
) -> tuple[float, float]:
    """Seconds of processor time for painting and for pasting all jobs."""
    paint = paste = 0.0
    for first in range(0, len(jobs), rung):
        batch = jobs[first : first + rung]
        begun = time.thread_time()
        faces = backend.run(batch)
        painted = time.thread_time()
        for job, face in zip(batch, faces, strict=True):
            composer.paint(job, face)
        paint += painted - begun
        paste += time.thread_time() - painted
    return paint, paste


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
