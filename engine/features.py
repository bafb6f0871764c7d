"""What the Whisper encoder hears of each picture, incrementally, for every stream (§1.5, §5).

A job brings the sound around its picture. The log-mel rows of a stream's segment are computed once
and kept, so that a further picture costs the rows of its own 40 ms; the floor of the log-mel is
kept running, so that it doesn't jump from window to window. Sections are those of musetalk.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.musetalk import mel, windows
from engine.types import SAMPLE_RATE, SAMPLES_PER_FRAME, FrameJob

STEM_REACH = 520
"""Samples after the start of a position that the encoder's convolutions reach (§5.1)."""

POSITION_MS = 1000 // windows.POSITIONS_PER_S
ROWS_PER_POSITION = windows.POSITION // mel.HOP
EDGE = mel.FFT // 2  # samples on either side of the centre of a row

PEAK_ROWS = mel.WINDOW_S * SAMPLE_RATE // mel.HOP
"""Rows that the running floor remembers: 30 s, as long as upstream's window."""

LONGEST = mel.WINDOW_S * windows.POSITIONS_PER_S
"""Positions that the encoder has embeddings for."""

LEAST_LEFT = windows.padding_positions() + 2
"""Positions: what a picture hears, and the two that a cut spoils on its left (§5.1)."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How much sound around a picture the encoder hears, and in which form (§5.2).

    Every window of a batch is equally long. `truncated` encodes the window alone, with the first
    position embeddings; `padded` fills it with zeros to 30 s, as upstream does with a short file.
    """

    left: int = 250  # positions (20 ms) before the picture: 5 s
    right: int = 5  # positions after the last that the picture itself hears: 100 ms of latency
    form: Literal["truncated", "padded"] = "truncated"

    def __post_init__(self) -> None:
        if self.left < LEAST_LEFT or self.right < 0 or self.span > LONGEST:
            raise ValueError(
                f"Left context must be at least {LEAST_LEFT} positions of 20 ms, right context at "
                f"least 0, and the window at most {LONGEST}; it would be {self.span}."
            )

    @property
    def left_context(self) -> int:
        """Samples of a job before its own 640: one position more than is encoded.

        So that the first row, whose frame reaches to its left, is always of real sound.
        """
        return (self.left + 1) * windows.POSITION

    @property
    def lookahead(self) -> int:
        """Samples of a job after its own 640: what §5.1 proves necessary, and the right context."""
        last = windows.window_length() - windows.padding_positions() - 1
        needed = last * windows.POSITION + STEM_REACH - SAMPLES_PER_FRAME
        return needed + self.right * windows.POSITION

    @property
    def span(self) -> int:
        """Positions of sound in a window."""
        return self.left + -(-(SAMPLES_PER_FRAME + self.lookahead) // windows.POSITION)

    @property
    def positions(self) -> int:
        """Positions that the encoder gives for a window."""
        return LONGEST if self.form == "padded" else self.span

    def start(self, frame: int) -> int:
        """The position of a segment where the window of its picture `frame` begins."""
        return max(0, 2 * frame - self.left)

    @property
    def rows(self) -> int:
        """Log-mel rows of a window, which the encoder takes."""
        return self.positions * ROWS_PER_POSITION


@dataclass(frozen=True, slots=True)
class Heard:
    """A batch for the encoder, and what of its output each picture hears."""

    mels: NDArray[np.float32]  # (batch, 80, rows)
    index: NDArray[np.int64]  # (batch, 10) positions of the window; 0 where not valid
    valid: NDArray[np.bool_]  # (batch, 10) False: a zero vector


@dataclass(slots=True)
class _Segment:
    """The log-mel rows of a stream's segment that no further sound changes."""

    name: tuple[int, int]  # generation, segment
    rows: mel.Log = field(default_factory=lambda: np.empty((0, mel.BANDS), np.float32))
    first: int = 0  # place in the segment of rows[0]
    peaks: NDArray[np.float32] = field(
        default_factory=lambda: np.full(PEAK_ROWS, mel.SILENCE, np.float32)
    )  # loudest band of the last rows, by row modulo PEAK_ROWS

    @property
    def end(self) -> int:
        return self.first + len(self.rows)

    def forget_before(self, row: int) -> None:
        """Drop the rows before `row`; those between the end and `row` were never computed."""
        skipped = np.arange(max(self.end, row - PEAK_ROWS), row)
        self.peaks[skipped % PEAK_ROWS] = mel.SILENCE
        self.rows = self.rows[max(0, row - self.first) :]
        self.first = row

    def extend(self, rows: mel.Log) -> None:
        at = np.arange(self.end, self.end + len(rows))
        self.peaks[at % PEAK_ROWS] = rows.max(axis=1, initial=mel.SILENCE)
        self.rows = np.concatenate([self.rows, rows])


class Features:
    """Log-mel windows of the jobs of all streams. Belongs to the thread that runs the backend."""

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self._segments: dict[int, _Segment] = {}

    def close(self, stream: int) -> None:
        """Forget a stream."""
        self._segments.pop(stream, None)

    def listen(self, jobs: Sequence[FrameJob]) -> Heard:
        """What the encoder hears of the jobs, in their order; those of a stream must be in order.

        Every job has sound: `audio` of (left_context + 640 + lookahead,) samples.
        """
        mels = np.empty((len(jobs), mel.BANDS, self.hearing.rows), np.float32)
        index = np.empty((len(jobs), windows.window_length()), np.int64)
        valid = np.empty(index.shape, np.bool_)
        for place, job in enumerate(jobs):
            start = self.hearing.start(job.frame)
            self._window(job, start * ROWS_PER_POSITION, mels[place])
            positions = windows.window_positions(job.frame, 1)[0]
            valid[place] = (positions >= 0) & (positions < self._end(job) // windows.POSITION)
            index[place] = np.where(valid[place], positions - start, 0)
        return Heard(mels, index, valid)

    def _end(self, job: FrameJob) -> int:
        """Samples of the segment that the job knows."""
        own = SAMPLES_PER_FRAME * (job.frame + 1)
        return own + self.hearing.lookahead - job.unheard

    def _window(self, job: FrameJob, first: int, mels: NDArray[np.float32]) -> None:
        """Fill log-mel (80, rows) from row `first` of the segment; zeros follow what is known."""
        segment = self._segment(job, first)
        kept = len(segment.rows)
        fresh = self._log_rows(job, segment.end)[: self.hearing.rows - kept]
        final = max(0, (self._end(job) - EDGE) // mel.HOP + 1 - segment.end)
        log = np.concatenate([segment.rows, fresh])
        segment.extend(fresh[:final])
        peak = max(float(segment.peaks.max()), float(fresh.max(initial=mel.SILENCE)))
        mels[:, : len(log)] = mel.scaled(log, peak).T
        mels[:, len(log) :] = mel.scaled(np.float32(mel.SILENCE), peak)

    def _segment(self, job: FrameJob, first: int) -> _Segment:
        """The rows kept of the job's segment, from row `first`."""
        name = (job.generation, job.segment)
        segment = self._segments.get(job.stream)
        if segment is None or segment.name != name or first < segment.first:
            segment = self._segments[job.stream] = _Segment(name)
        segment.forget_before(first)
        return segment

    def _log_rows(self, job: FrameJob, first: int) -> mel.Log:
        """Rows from `first` to the last that any known sample touches."""
        assert job.audio is not None  # a closing mouth costs no inference
        touched = (self._end(job) + EDGE - 1) // mel.HOP + 1
        if touched <= first:
            return np.empty((0, mel.BANDS), np.float32)
        low, high = first * mel.HOP - EDGE, (touched - 1) * mel.HOP + EDGE
        begin = SAMPLES_PER_FRAME * job.frame - self.hearing.left_context
        known = job.audio[low - begin : high - begin]
        sound = np.zeros(high - low)
        sound[: len(known)] = known / 32768.0
        if low < 0:  # reflected at the start of the segment, as a file is
            sound[:-low] = sound[1 - low : 1 - 2 * low][::-1]
        return mel.log_power(mel.sound_frames(sound))
