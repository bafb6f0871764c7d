"""Checks of what the networks hear: windows, positional table, log-mel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.clips import clip_jobs
from engine.features import Features, Hearing
from engine.musetalk import mel, positional, windows
from engine.parity.vectors import Comparison, Result, Vectors
from engine.types import FPS, SAMPLES_PER_FRAME

TABLE_ALLOWED = 1e-5
MEL_ALLOWED = 1e-4

_CASE = re.compile(r"(?:full_)?prompt_n(\d+)_fps([\d.]+?)(?:_L(\d+)R(\d+))?$")


def marked(positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, 5, 2) states that tell their position and their place, as in the vectors' README."""
    number = positions[:, None] + 1.0
    place = np.arange(windows.STATES)
    return np.stack([number + place / 8, 0 * place - number], axis=2).astype(np.float32)


def case_of(key: str) -> tuple[int, float, int, int]:
    """Samples, frame rate, left and right padding of a key."""
    match = _CASE.match(key)
    if match is None:
        raise ValueError(key)
    samples, fps, left, right = match.groups()
    both = (windows.PADDING, windows.PADDING) if left is None else (int(left), int(right))
    return int(samples), float(fps), *both


def audio_windows(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "a_audio_chunks")
    keys = [key for key in vectors.some("prompt_") if _CASE.match(key)]
    whole, streamed = Comparison("audio windows of a clip"), Comparison("audio windows of a stream")
    for key in keys:
        samples, fps, left, right = case_of(key)
        states = marked(np.arange(samples // windows.POSITION))
        tokens = windows.clip_windows(states, samples, fps, left, right)
        whole.add(key, tokens, vectors[key])
        if fps == FPS and left == right == windows.PADDING:
            streamed.add(key, _streamed(samples), vectors[key])
    yield whole.result
    yield streamed.result
    yield _full_width(vectors)
    yield _refused(vectors)


def _full_width(vectors: Vectors) -> Result:
    comparison = Comparison("audio windows of real width")
    for key in vectors.some("full_prompt_"):
        samples, fps, left, right = case_of(key)
        states = vectors[vectors.some("full_hidden_first")[0]].swapaxes(0, 1)
        tokens = windows.clip_windows(states, samples, fps, left, right)
        comparison.add(key, tokens, vectors[key])
    return comparison.result


def _refused(vectors: Vectors) -> Result:
    """Clips that the reference does not take: too short at 25 fps, any at 50 fps."""
    comparison = Comparison("clips that have no windows")
    for samples in vectors["failures"][:, 0].tolist():
        short = samples < 2 * SAMPLES_PER_FRAME
        try:
            states = marked(np.arange(samples // windows.POSITION))
            windows.clip_windows(states, samples, FPS if short else 2 * FPS)
        except windows.ClipTooShort:
            continue
        comparison.wrong(f"{samples} samples are taken")
    return comparison.result


def _streamed(samples: int) -> NDArray[np.float32]:
    """Tokens of a clip's pictures on the way that serves, one job each; the encoder marks."""
    hearing = Hearing()
    features = Features(hearing)
    tokens = []
    for job in clip_jobs(np.zeros(samples, np.int16), hearing):
        heard = features.listen([job])
        states = marked(hearing.start(job.frame) + np.arange(hearing.positions))
        tokens.append(windows.gather(states[None], heard.index, heard.valid)[0])
    return np.array(tokens)


def positions(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "b_positional_encoding")
    table = Comparison("positional table", TABLE_ALLOWED)
    for key in vectors.some("pe_table_"):
        expected = vectors[key]
        table.add(key, positional.positional_table(*expected.shape), expected)
    yield table.result
    tokens = vectors["x"]
    single = Comparison("tokens with positions, fp32", TABLE_ALLOWED)
    single.add("y_fp32", positional.with_positions(tokens), vectors["y_fp32"])
    yield single.result
    expected = vectors["y_fp16"].astype(np.float16)
    step = float(np.spacing(np.abs(expected).max()))  # of half precision
    half = Comparison("tokens with positions, fp16", step)
    half.add("y_fp16", positional.with_positions(tokens.astype(np.float16)), expected)
    yield half.result


def log_mel(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "g_logmel")
    comparison = Comparison("log-mel", MEL_ALLOWED)
    sound = vectors["wav"]
    heard = mel.log_mel(sound)
    quiet = mel.log_mel(sound * np.float32(0.05))
    comparison.add("shape", heard[None].shape, vectors["mel_shape"])
    for name, ours, key in (("speech", heard, "mel_first"), ("quiet", quiet, "quiet_mel_first")):
        for expected in (vectors[found] for found in vectors.some(key)):
            comparison.add(name, ours[:, : expected.shape[1]], expected)
    comparison.add("tail", heard[:, -1], vectors["mel_tail_value"])
    silence = mel.log_mel(np.zeros_like(sound))
    comparison.add("silence", [silence.min(), silence.max()], vectors["all_zero_value"])
    yield comparison.result
