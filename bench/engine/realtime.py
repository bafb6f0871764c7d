"""One session's sound in chunks, as fast as they can be painted; `voipavatar bench realtime`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

import numpy as np

from bench.report.columns import columns
from engine.audio.silence import SilenceGate
from engine.audio.speech import Speech
from engine.backends.backend import Backend
from engine.core.persona import Persona
from engine.core.types import FPS, SAMPLE_RATE, FrameJob, Pcm
from engine.engine_config import EngineConfig
from engine.picture.compose import Composer


@dataclass(frozen=True, slots=True)
class Chunk:
    """Milliseconds from a chunk's last sample to the last picture that it completes."""

    pictures: int
    inferred: int
    listen_ms: float  # sound cut into windows, silence found
    paint_ms: float  # features and networks, from jobs to faces on the host
    paste_ms: float  # faces into frames, as I420

    @property
    def latency_ms(self) -> float:
        return self.listen_ms + self.paint_ms + self.paste_ms


@dataclass(frozen=True, slots=True)
class Report:
    backend: str
    size: tuple[int, int]
    chunk_s: float
    lookahead_ms: float  # sound after a picture's own that it waits for
    start_s: float  # load, compile, warm up
    admit_s: float  # what the backend needs of the persona: its latents
    sound_s: float
    chunks: list[Chunk]

    @property
    def ratio(self) -> float:
        """Seconds of sound per second of work; above 1 is faster than real time."""
        return self.sound_s / (sum(chunk.latency_ms for chunk in self.chunks) / 1000)


def bench(
    backend: Backend, config: EngineConfig, persona: Persona, speech: Pcm, chunk_s: float
) -> Report:
    """Feed the speech chunk by chunk and paint what each completes, in this thread.

    Args:
        backend: not started.
        speech: (n,) int16 mono at 16 kHz.
        chunk_s: length of a chunk; the last may be shorter.

    Raises:
        BackendUnavailable, PersonaError, EngineFault: of the backend.
    """
    begun = time.perf_counter()
    backend.start()
    started = time.perf_counter()
    try:
        backend.admit(persona)
        admitted = time.perf_counter()
        backend.open(0)
        session = _Session(config, backend, persona)
        size = max(1, round(chunk_s * SAMPLE_RATE))
        chunks = [
            session.hear(speech[first : first + size], last=first + size >= len(speech))
            for first in range(0, len(speech), size)
        ]
    finally:
        backend.stop()
    return Report(
        backend=backend.name,
        size=(persona.width, persona.height),
        chunk_s=chunk_s,
        lookahead_ms=1000 * backend.lookahead / SAMPLE_RATE,
        start_s=started - begun,
        admit_s=admitted - started,
        sound_s=len(speech) / SAMPLE_RATE,
        chunks=chunks,
    )


class _Session:
    """A stream without a clock: every picture is made as soon as its sound is there."""

    def __init__(self, config: EngineConfig, backend: Backend, persona: Persona) -> None:
        self._backend = backend
        self._persona = persona
        self._gate = SilenceGate(config.silence_rms)
        self._closing = config.close_frames
        self._quiet = config.close_frames
        relax = backend.capabilities.relax
        self._composer = Composer(config.close_frames, 0, relax)
        self._speech = Speech(backend.left_context, backend.lookahead)
        self._done = 0

    def hear(self, pcm: Pcm, *, last: bool) -> Chunk:
        """Paint all that a further chunk completes."""
        begun = time.perf_counter()
        self._speech.push(pcm)
        if last:
            self._speech.end_segment()
        first, self._done = self._done, self._speech.complete
        jobs = [self._job(tick) for tick in range(first, self._done)]
        talking = [job for job in jobs if job is not None and job.inferred]
        cut = time.perf_counter()
        most = self._backend.rungs[-1]
        faces = [
            face.copy()
            for place in range(0, len(talking), most)
            for face in self._backend.run(talking[place : place + most])
        ]
        painted = time.perf_counter()
        ready = iter(faces)
        for job in jobs:
            if job is not None:
                self._composer.paint(job, next(ready) if job.inferred else None)
        moments = np.diff([begun, cut, painted, time.perf_counter()]) * 1000
        return Chunk(len(jobs), len(talking), *moments.tolist())

    def _job(self, tick: int) -> FrameJob | None:
        """None where the persona is at rest."""
        window = self._speech.window(tick)
        silent = self._gate.silent(window.rms)
        self._quiet = self._quiet + 1 if silent else 0
        if self._quiet > self._closing:
            return None
        return FrameJob(
            stream=0,
            generation=0,
            tick=tick,
            due=tick / FPS,
            persona=self._persona,
            audio=None if silent else window.audio,
            closing=self._quiet,
            segment=window.segment,
            frame=window.frame,
            unheard=window.unheard,
        )


def table(report: Report) -> str:
    """The report as text."""
    width, height = report.size
    chunks = [chunk for chunk in report.chunks if chunk.inferred] or report.chunks
    lines = [
        f"{report.backend}, {width}x{height}, {report.sound_s:.1f} s of sound in chunks of "
        f"{report.chunk_s * 1000:.0f} ms",
        f"engine started in {report.start_s:.2f} s, persona taken in {report.admit_s:.2f} s",
        f"pictures {sum(chunk.pictures for chunk in report.chunks)}, of them painted "
        f"{sum(chunk.inferred for chunk in report.chunks)}",
    ]
    rows: list[list[str]] = []
    for name in ("listen_ms", "paint_ms", "paste_ms", "latency_ms"):
        values = [getattr(chunk, name) for chunk in chunks]
        middle, late = np.percentile(values, (50, 95))
        label = "all" if name == "latency_ms" else name.removesuffix("_ms")
        rows.append([label, f"{middle:.2f}", f"{late:.2f}", f"{max(values):.2f}"])
    lines.append(columns(["of chunks with speech", "median ms", "p95 ms", "worst ms"], rows))
    wait = report.chunk_s * 1000 + report.lookahead_ms
    lines += [
        f"before that, a chunk's first sample waits {wait:.0f} ms: the chunk itself, and "
        f"{report.lookahead_ms:.0f} ms that pictures hear ahead",
        f"real-time ratio {report.ratio:.2f} (seconds of sound a second of work, one session)",
    ]
    return "\n".join(lines)


def as_json(report: Report) -> str:
    return json.dumps(asdict(report) | {"ratio": report.ratio}, indent=1)
