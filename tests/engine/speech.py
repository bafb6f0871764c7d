"""Sound like speech, and the jobs that a stream makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.features import Hearing
from engine.persona import Persona
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME, FrameJob, Pcm


def speech_like(samples: int, seed: int = 0) -> Pcm:
    """Voiced syllables with pauses and a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / SAMPLE_RATE
    pitch = np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * time)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * harmonic * pitch) / harmonic for harmonic in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * time) + 0.3, 0, 1)
    sound = 0.25 * voice * syllables + 0.004 * rng.standard_normal(samples)
    return np.clip(sound * 32767, -32768, 32767).astype(np.int16)


def no_persona() -> Persona:
    """A persona without frames: what hears doesn't look."""
    none = np.zeros((0, 4), np.int32)
    frames = np.zeros((0, 0, 0, 3), np.uint8)
    return Persona(
        *("none", "none", "key", Path()),
        *(frames, frames.reshape(0, 0), none, none, none.astype(np.float32), (), {}),
    )


def jobs_of(pcm: Pcm, hearing: Hearing, *, stream: int = 1, segment: int = 0) -> Iterator[FrameJob]:
    """The jobs of a whole segment, each with the sound that its stream knows by then."""
    persona = no_persona()
    after = hearing.lookahead + SAMPLES_PER_FRAME
    padded = np.concatenate([np.zeros(hearing.left_context), pcm, np.zeros(after)])
    length = hearing.left_context + SAMPLES_PER_FRAME + hearing.lookahead
    for frame in range(len(pcm) // SAMPLES_PER_FRAME):
        start = frame * SAMPLES_PER_FRAME
        yield FrameJob(
            stream=stream,
            generation=0,
            tick=frame,
            due=0.0,
            persona=persona,
            audio=padded[start : start + length].astype(np.int16),
            segment=segment,
            frame=frame,
            unheard=max(0, start + after - len(pcm)),
        )
