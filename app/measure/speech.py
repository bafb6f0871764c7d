"""What measuring participants say."""

from __future__ import annotations

import itertools
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.measure.align import AUDIBLE
from app.measure.recording import Pcm

SAMPLE = Path(__file__).parents[2] / "samples" / "speech.wav"
PIECE_S = 0.04
TURN_S = 4.0  # a sentence or two


def read_wav(path: Path) -> tuple[Pcm, int]:
    """(n,) samples and their rate, of a 16-bit mono WAV."""
    with wave.open(str(path), "rb") as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        return pcm, file.getframerate()


def write_wav(path: Path, pcm: Pcm, rate: int) -> None:
    """(n,) samples as a 16-bit mono WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())


def talk(pcm: Pcm, rate: int, duty: float, start: int) -> Iterator[Pcm]:
    """40 ms pieces for ever: turns of speech without its pauses, and silence between them.

    Args:
        pcm: (n,) speech.
        duty: share of the time that is speech, above 0 up to 1.
        start: which piece of the speech to begin with, so that not all say the same at once.
    """
    length = round(rate * PIECE_S)
    pieces = pcm[: len(pcm) // length * length].reshape(-1, length)
    level = np.sqrt(np.mean(np.square(pieces / 32768.0), axis=1))
    spoken = pieces[level >= AUDIBLE]
    turn = round(TURN_S / PIECE_S)
    pause = round(turn * (1 - duty) / duty)
    silence = np.zeros(length, np.int16)
    for begin in itertools.count(start, turn):
        yield from spoken[np.arange(begin, begin + turn) % len(spoken)]
        yield from itertools.repeat(silence, pause)
