"""Checks of what the networks hear: windows, positional table, log-mel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio.features import LEAST_LEFT, LONGEST, Features, Heard, Hearing
from engine.audio.speech import FULL_SCALE
from engine.core.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, FrameJob, Pcm
from engine.musetalk import mel, positional, windows
from engine.parity.clips import clip_jobs
from engine.parity.rounding import beyond_rounding
from engine.parity.vectors import Comparison, Result, Vectors

TABLE_ALLOWED = 1e-5
MEL_ALLOWED = 1e-4

EDGE = 16
"""Samples at the end of a job's sound; less could lie under the window's edge and go unheard."""

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


def as_served(key: str) -> bool:
    """The key's frame rate and padding are those that serve."""
    _, fps, left, right = case_of(key)
    return fps == FPS and left == right == windows.PADDING


def audio_windows(folder: Path) -> Iterator[Result]:
    """Which positions pictures hear: of a whole clip at any rate, and of a stream."""
    vectors = Vectors(folder, "a_audio_chunks")
    keys = [key for key in vectors.some("prompt_") if _CASE.match(key)]
    whole, streamed = Comparison("audio windows of a clip"), Comparison("audio windows of a stream")
    for key in keys:
        samples, fps, left, right = case_of(key)
        expected = _heard_in(vectors[key])
        whole.add(key, _of_clip(samples, int(fps), left, right), expected)
        if as_served(key):
            streamed.add(key, _streamed(samples), expected)
    yield whole.result
    yield streamed.result


def _heard_in(tokens: NDArray[np.float32]) -> NDArray[np.int64]:
    """(pictures, window) positions that the vectors' tokens are of; -1 for a zero vector."""
    return np.rint(-tokens[:, :: windows.STATES, 1]).astype(np.int64) - 1


def _of_clip(samples: int, fps: int, left: int, right: int) -> NDArray[np.int64]:
    """The same of a whole clip: (pictures, window)."""
    known = int(windows.position_count(samples))
    heard = windows.window_positions(0, windows.picture_count(samples, fps), fps, left, right)
    # The reference cuts its zeros out of the clip, so there are no more of them than positions
    # (§1.5); at 25 fps with the usual padding, no clip that it takes is so short.
    heard += max(0, windows.padding_positions(fps, left) - known)
    return np.where((heard >= 0) & (heard < known), heard, -1)


def _streamed(samples: int) -> NDArray[np.int64]:
    """The same of a clip's pictures on the way that serves, one job each."""
    hearing = Hearing()
    features = Features(hearing)
    positions = []
    for job in clip_jobs(np.zeros(samples, np.int16), hearing):
        heard = features.listen([job])
        positions.append(np.where(heard.valid[0], hearing.start(job.frame) + heard.index[0], -1))
    return np.array(positions)


def positions(folder: Path) -> Iterator[Result]:
    vectors = Vectors(folder, "b_positional_encoding")
    table = Comparison("positional table", TABLE_ALLOWED)
    for key in vectors.some("pe_table_"):
        expected = vectors[key]
        table.add(key, positional.positional_table(*expected.shape), expected)
    yield table.result


def log_mel(folder: Path) -> Iterator[Result]:
    """Compares a whole clip with the vectors, and a stream with both."""
    vectors = Vectors(folder, "g_logmel")
    sound = vectors["wav"]
    comparison = Comparison("log-mel", MEL_ALLOWED)
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
    yield streamed_mel(vectors, "log-mel of a stream", lambda heard: heard.mels)
    yield _streamed_floor(vectors)
    yield _look_ahead()


def _pcm(sound: NDArray[np.floating]) -> Pcm:
    """As a stream has it: in 16 bits, and a picture long at least."""
    pcm = np.asarray(np.clip(np.rint(sound * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1), np.int16)
    return np.pad(pcm, (0, max(0, SAMPLES_PER_FRAME - len(pcm))))


def _of_all(samples: int) -> Hearing:
    """A window whose left context is as long as the clip, so that its last picture hears it all."""
    usual = Hearing(form="padded")
    left = min(-(-samples // windows.POSITION), LONGEST - (usual.span - usual.left))
    return replace(usual, left=max(left, LEAST_LEFT))


def streamed_mel(
    vectors: Vectors, check: str, mels: Callable[[Heard], NDArray[np.float32]]
) -> Result:
    """Every picture's window of a stream, where the whole clip has it.

    Args:
        mels: (batch, 80, rows) what the encoder takes of what is heard.
    """
    wav = vectors["wav"]
    pcm = _pcm(wav)
    whole_clip = _of_all(len(pcm))
    pcm = pcm[: whole_clip.left * windows.POSITION]  # all of it, unless it is nearly 30 s long
    clip = mel.log_mel(pcm / FULL_SCALE)
    comparison = Comparison(check, MEL_ALLOWED)
    last = np.empty(0, np.float32)
    # So little context that windows slide; enough for the whole clip, which the last picture has.
    for hearing in (Hearing(LEAST_LEFT, 0, form="padded"), whole_clip):
        features = Features(hearing)
        for job in clip_jobs(pcm, hearing):
            last = heard = mels(features.listen([job]))[0]
            comparison.add("shape", heard[None].shape, vectors["mel_shape"])
            first = hearing.start(job.frame) * windows.POSITION // mel.HOP
            known = _known_rows(job, hearing) - first
            ours, whole = heard[:, :known], clip[:, first : first + known]
            # A floor that is not yet the file's lies under it.
            comparison.add(f"picture {job.frame}", np.maximum(ours, clip.min()), whole)
    comparison.add("last picture", last, clip)
    for expected in (vectors[found] for found in vectors.some("mel_first")):
        beyond = beyond_rounding(last, expected, wav, pcm)
        comparison.add("the vectors' own", beyond, np.zeros_like(beyond))
    return comparison.result


def _known_rows(job: FrameJob, hearing: Hearing) -> int:
    """Rows of the segment whose sound the job knows to the end."""
    assert job.audio is not None
    known = SAMPLES_PER_FRAME * (job.frame + 1) + hearing.lookahead - job.unheard
    return (known - mel.FFT // 2) // mel.HOP + 1


def _streamed_floor(vectors: Vectors) -> Result:
    """A stream's floor is that of its loudest sound for as long as a window of upstream's."""
    comparison = Comparison("log-mel floor of a stream", MEL_ALLOWED)
    hearing = Hearing(LEAST_LEFT, 0)
    sound = _pcm(vectors["wav"])
    seconds = len(sound) / SAMPLE_RATE
    pcm = np.zeros((mel.WINDOW_S + 2) * SAMPLE_RATE + len(sound), np.int16)
    pcm[: len(sound)] = sound
    tail = mel.log_mel(sound / FULL_SCALE)[:, -1]
    features = Features(hearing)
    for job in clip_jobs(pcm, hearing):
        at = job.frame / FPS
        heard = features.listen([job]).mels[0]
        if seconds + 1 < at < mel.WINDOW_S - 1:
            comparison.add(f"second {at:g}", heard[:, -1], tail)
        elif at > mel.WINDOW_S + seconds + 1:
            comparison.add(f"second {at:g}", heard[:, -1], tail * 0 + vectors["all_zero_value"][0])
    return comparison.result


def _look_ahead() -> Result:
    """A job's sound ends where the last row that its picture needs does: §5.1."""
    comparison = Comparison("look-ahead of a stream")
    hearing = Hearing(left=50, right=0)
    pcm = np.zeros(2 * SAMPLE_RATE, np.int16)
    (job,) = (job for job in clip_jobs(pcm, hearing) if job.frame == FPS)
    assert job.audio is not None
    # The convolutions of position q reach the rows to 2 q + 2.
    last = windows.window_positions(job.frame, 1)[0, -1] - hearing.start(job.frame)
    row = 2 * int(last) + 2
    for name, after in (("needed", 0), ("enough", 1)):
        pcm[:] = 0
        end = SAMPLES_PER_FRAME * (job.frame + 1) + hearing.lookahead
        pcm[end - EDGE * (1 - after) : end + EDGE * after] = 30_000
        jobs = (each for each in clip_jobs(pcm, hearing) if each.frame == job.frame)
        heard = Features(hearing).listen(list(jobs)).mels[0]
        whole = mel.log_mel(pcm / FULL_SCALE)[:, 2 * hearing.start(job.frame) :]
        comparison.add(name, heard[:, row].max() > heard.min(), after == 0)
        comparison.add(f"{name}, whole", whole[:, row].max() > whole.min(), after == 0)
    return comparison.result
