"""Speech for the participants that measure."""

from __future__ import annotations

import itertools
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.measure.align import AUDIBLE
from bench.measure.recording import Pcm

PIECE_S = 0.04
TURN_S = 4.0  # a sentence or two
TURNS = (0.5, 1.5)  # of that, at least and at most


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
    """Endless 40 ms pieces: turns of speech without its pauses, and silence between them.

    Turns differ in length, and each has its own pause. Speakers that begin at different places
    soon speak at different times, like people in different rooms; now and then many coincide.

    Args:
        pcm: (n,) speech.
        duty: share of the time that is speech, above 0 up to 1.
        start: which piece of the speech to begin with, so that not all say the same at once.
    """
    spoken = _spoken(pcm, rate)
    silence = np.zeros(spoken.shape[1], np.int16)
    quiet = (1 - duty) / duty  # pieces of silence for each of speech
    random = np.random.default_rng(start)
    yield from itertools.repeat(silence, round(random.random() * quiet * TURN_S / PIECE_S))
    begin = start
    while True:
        turn = round(random.uniform(*TURNS) * TURN_S / PIECE_S)
        yield from spoken[np.arange(begin, begin + turn) % len(spoken)]
        yield from itertools.repeat(silence, round(turn * quiet))
        begin += turn


def utterances(pcm: Pcm, rate: int, start: int) -> Iterator[Pcm]:
    """Whole turns for ever, (n,) each, with a steady tone 20 dB below the speech.

    The tone makes every 5 ms of them audible, so that the first and the last that is heard are the
    first and the last that was played, not the edge of a consonant.
    """
    spoken = _spoken(pcm, rate)
    turn = round(TURN_S / PIECE_S)
    time = np.arange(round(turn * PIECE_S * rate)) / rate
    tone = np.sqrt(2) * 0.1 * np.std(spoken) * np.sin(2 * np.pi * 440 * time)
    for begin in itertools.count(start, turn):
        words = spoken[np.arange(begin, begin + turn) % len(spoken)].reshape(-1)
        yield np.clip(words + tone, -32768, 32767).astype(np.int16)


def _spoken(pcm: Pcm, rate: int) -> Pcm:
    """(pieces, samples) those pieces of 40 ms in which something is said."""
    length = round(rate * PIECE_S)
    pieces = pcm[: len(pcm) // length * length].reshape(-1, length)
    level = np.sqrt(np.mean(np.square(pieces / 32768.0), axis=1))
    found: Pcm = pieces[level >= AUDIBLE]
    return found
