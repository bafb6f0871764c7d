"""Input of the Whisper encoder for each picture, computed incrementally per stream (§1.5, §5).

A job carries the audio around its picture. The log-mel rows of a stream's segment are computed once
and kept, so that each further picture costs only the rows of its own 40 ms. The floor of the
log-mel is a running value, so that it does not jump between windows. Sections refer to musetalk.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.types import SAMPLE_RATE, SAMPLES_PER_FRAME, FrameJob, Pcm
from engine.musetalk import mel, windows

STEM_REACH = 520
"""Samples that the encoder's convolutions reach past the start of a position (§5.1)."""

POSITION_MS = 1000 // windows.POSITIONS_PER_S
ROWS_PER_POSITION = windows.POSITION // mel.HOP
EDGE = mel.FFT // 2  # samples on either side of the centre of a row

PEAK_ROWS = mel.WINDOW_S * SAMPLE_RATE // mel.HOP
"""Rows that the running floor covers: 30 s, the length of upstream's window."""

LONGEST = mel.WINDOW_S * windows.POSITIONS_PER_S
"""Number of positions for which the encoder has embeddings."""

LEAST_LEFT = windows.padding_positions() + 2
"""Positions that a picture hears, and the two that a cut corrupts to their left (§5.1)."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How much audio around a picture the encoder gets, and in which form (§5.2).

    All windows of a batch have the same length. `truncated` encodes the window alone, with the
    first position embeddings; `padded` fills it with zeros to 30 s, as upstream does with a short
    file.
    """

    left: int = 250  # positions (20 ms) before the picture: 5 s
    right: int = 5  # positions after the last one that the picture hears: 100 ms of latency
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

        The frame of the first row reaches to its left; this way it always covers real audio.
        """
        return (self.left + 1) * windows.POSITION

    @property
    def lookahead(self) -> int:
        """Samples of a job after its own 640: those that §5.1 requires, and the right context."""
        last = windows.window_length() - windows.padding_positions() - 1
        needed = last * windows.POSITION + STEM_REACH - SAMPLES_PER_FRAME
        return needed + self.right * windows.POSITION

    @property
    def span(self) -> int:
        """Positions of audio in a window."""
        return self.left + -(-(SAMPLES_PER_FRAME + self.lookahead) // windows.POSITION)

    @property
    def positions(self) -> int:
        """Positions in the encoder's output for a window."""
        return LONGEST if self.form == "padded" else self.span

    def start(self, frame: int) -> int:
        """The position in the segment where the window of picture `frame` begins."""
        return max(0, 2 * frame - self.left)

    @property
    def rows(self) -> int:
        """Log-mel rows of a window, as input to the encoder."""
        return self.positions * ROWS_PER_POSITION


@dataclass(frozen=True, slots=True)
class Heard:
    """A batch for the encoder, and the part of its output that each picture hears."""

    log: NDArray[
        np.float32
    ]  # (batch, rows, 80) log10 of the power; SILENCE where no audio is known
    floor: NDArray[np.float32]  # (batch,) lower bound of `log`
    index: NDArray[np.int64]  # (batch, 10) positions in the window; 0 where not valid
    valid: NDArray[np.bool_]  # (batch, 10) False selects a zero vector

    @property
    def mels(self) -> NDArray[np.float32]:
        """(batch, 80, rows) input of the encoder."""
        floored = np.maximum(self.log, self.floor[:, None, None])
        return np.ascontiguousarray(mel.scaled(floored).transpose(0, 2, 1))

    def first(self, count: int) -> Heard:
        return Heard(self.log[:count], self.floor[:count], self.index[:count], self.valid[:count])


def new_heard(count: int, hearing: Hearing) -> Heard:
    """Allocates the buffers of a batch."""
    positions = windows.window_length()
    return Heard(
        np.empty((count, hearing.rows, mel.BANDS), np.float32),
        np.empty(count, np.float32),
        np.empty((count, positions), np.int64),
        np.empty((count, positions), np.bool_),
    )


class _SegmentFeatures:
    """The final log-mel rows of a stream's segment: later audio does not change them."""

    def __init__(self, name: tuple[int, int], rows: int) -> None:
        self.name = name  # generation, segment
        self.first = self.end = 0  # range of the rows that are kept, counted in the segment
        # Windows lie one after another, so that each is one slice. When the buffer is full, rows
        # still needed move to its start: once per as many rows as a window has.
        self._rows = np.empty((2 * rows, mel.BANDS), np.float32)
        self._origin = 0  # position in the segment of the first of them
        # Positions and loudest bands of rows, each louder than all later ones: a quieter earlier
        # row can no longer become the loudest.
        self._peaks: deque[tuple[int, float]] = deque()

    def go_on(self, first: int) -> None:
        """Discards the rows before `first`."""
        self.first, self.end = first, max(self.end, first)

    def window(self, first: int, end: int, fresh: mel.Log) -> mel.Log:
        """Rows from `first` on: the final ones up to `end`, then the fresh ones.

        Returns a view that the next call changes.
        """
        stop = end + len(fresh)
        if stop - self._origin > len(self._rows):
            kept = self._rows[first - self._origin : end - self._origin]
            self._rows[: len(kept)] = kept  # at most half of the buffer, so it never overlaps
            self._origin = first
        self._rows[end - self._origin : stop - self._origin] = fresh
        return self._rows[first - self._origin : stop - self._origin]

    def peak(self, end: int, fresh: Sequence[float], final: int) -> float:
        """The loudest band of the last PEAK_ROWS rows that are final, and of the fresh ones.

        Args:
            end: position of the first fresh row.
            fresh: the loudest band of each fresh row.
            final: number of leading fresh rows that are final.
        """
        peaks = self._peaks
        for place, loudest in enumerate(fresh[:final], end):
            while peaks and peaks[-1][1] <= loudest:
                peaks.pop()
            peaks.append((place, loudest))
        while peaks and peaks[0][0] < end + final - PEAK_ROWS:
            peaks.popleft()
        kept = peaks[0][1] if peaks else mel.SILENCE
        return max(kept, *fresh[final:]) if final < len(fresh) else kept


class _Window(NamedTuple):
    """The parts of a job's window: kept rows of its segment, then fresh ones."""

    segment: _SegmentFeatures
    start: int  # position in the segment where the window begins
    known: int  # samples of the segment that are known to the job
    end: int  # position of the first fresh row
    fresh: int  # rows
    final: int  # number of fresh rows that later audio does not change


class Features:
    """Log-mel windows for the jobs of all streams. Used by the backend's thread only."""

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self._left, self._lookahead = hearing.left_context, hearing.lookahead
        self._rows = hearing.rows
        self._segments: dict[int, _SegmentFeatures] = {}

    def close(self, stream: int) -> None:
        """Discards a stream's rows."""
        self._segments.pop(stream, None)

    def listen(self, jobs: Sequence[FrameJob], into: Heard | None = None) -> Heard:
        """Encoder input of the jobs, in their order; the jobs of one stream must be in order.

        Every job must have `audio`, of (left_context + 640 + lookahead,) samples.

        Args:
            into: buffers for at least this many jobs; their first entries are filled and returned.
        """
        heard = new_heard(len(jobs), self.hearing) if into is None else into.first(len(jobs))
        frames: list[Pcm] = []
        parts = [self._plan(job, frames) for job in jobs]
        # One transform for the whole batch: with a few rows per job, calls cost more than rows.
        fresh = mel.log_power(np.concatenate(frames)) if frames else mel.NO_ROWS
        loudest = fresh.max(axis=1).tolist()
        done = 0
        for place, part in enumerate(parts):
            own = slice(done, done + part.fresh)
            _fill(part, fresh[own], heard.log[place])
            heard.floor[place] = part.segment.peak(part.end, loudest[own], part.final) - mel.RANGE
            done = own.stop
        positions = windows.positions_of([job.frame for job in jobs])
        known = windows.position_count([part.known for part in parts])
        starts = np.array([part.start for part in parts])
        valid = (positions >= 0) & (positions < known[:, None])
        heard.valid[:] = valid
        np.multiply(positions - starts[:, None], valid, out=heard.index)
        return heard

    def _end(self, job: FrameJob) -> int:
        """Samples of the segment that are known to the job."""
        own = SAMPLES_PER_FRAME * (job.frame + 1)
        return own + self._lookahead - job.unheard

    def _plan(self, job: FrameJob, frames: list[Pcm]) -> _Window:
        """Plans a job's window; appends the audio frames of its fresh rows to `frames`."""
        start, known = self.hearing.start(job.frame), self._end(job)
        first = start * ROWS_PER_POSITION
        segment = self._segment(job, first)
        segment.go_on(first)
        end = segment.end
        touched = (known + EDGE - 1) // mel.HOP + 1
        count = max(0, min(touched, first + self._rows) - end)
        if count:
            frames.append(self._sound_frames(job, end, count))
        final = min(count, max(0, (known - EDGE) // mel.HOP + 1 - end))
        segment.end += final
        return _Window(segment, start, known, end, count, final)

    def _segment(self, job: FrameJob, first: int) -> _SegmentFeatures:
        """The kept rows of the job's segment; its window begins at row `first`."""
        name = (job.generation, job.segment)
        segment = self._segments.get(job.stream)
        if segment is None or segment.name != name or first < segment.first:
            segment = self._segments[job.stream] = _SegmentFeatures(name, self._rows)
        return segment

    def _sound_frames(self, job: FrameJob, first: int, count: int) -> Pcm:
        """(count, 400) audio of the rows from `first` on; zeros after the known samples."""
        assert job.audio is not None  # a closing mouth needs no inference
        low, high = first * mel.HOP - EDGE, (first + count - 1) * mel.HOP + EDGE
        begin = SAMPLES_PER_FRAME * job.frame - self._left
        known = job.audio[max(0, low - begin) : high - begin]
        sound = np.zeros(high - low, np.int16)
        sound[max(0, begin - low) :][: len(known)] = known
        if low < 0:  # reflected at the start of the segment, as at the start of a file
            sound[:-low] = sound[1 - low : 1 - 2 * low][::-1]
        return mel.sound_frames(sound)


def _fill(part: _Window, fresh: mel.Log, out: mel.Log) -> None:
    """Writes a window (rows, 80) and keeps its final rows."""
    rows = part.segment.window(part.start * ROWS_PER_POSITION, part.end, fresh)
    out[: len(rows)] = rows
    if len(rows) < len(out):
        out[len(rows) :] = mel.SILENCE
