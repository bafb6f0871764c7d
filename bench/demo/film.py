"""Writes what a viewer received to an mp4, each picture and sound at the moment it arrived."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from app.process.private_files import callers_mode
from bench.measure.recording import Pcm
from engine.core.new_file import NewFile

CLOCK = Fraction(1, 90_000)  # the film's time base for pictures, as in RTP
BACKGROUND = 10  # niceness of the thread that encodes
SOUND_GAP_S = 0.08  # arrivals later than this leave a silence; less is the network's unevenness


class _Abandoned(Exception):
    pass


class Film:
    """An H.264 and AAC mp4, encoded in a thread of its own so that arrivals are not held up.

    Starts with the first picture: what was heard before it is left out.
    """

    def __init__(self, path: Path, rate: int, maker: str = "") -> None:
        """`rate` of the sound in Hz; `maker` is written into the film's comment."""
        self._path = path
        self._maker = maker
        self._rate = rate
        self._start: float | None = None
        self._sound_end = 0  # samples
        self._last_pts = -1
        self._work: queue.SimpleQueue[av.VideoFrame | av.AudioFrame | None] = queue.SimpleQueue()
        self._size = (0, 0)
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None
        self._abandoned = False

    def picture(self, at: float, width: int, height: int, i420: bytes | memoryview) -> None:
        """Add a picture that arrived at `at` (seconds of any one clock)."""
        if self._start is None:
            self._start, self._size = at, (width, height)
            self._thread = threading.Thread(target=self._run, name="film", daemon=True)
            self._thread.start()
        if (width, height) != self._size:
            return  # an mp4 has one size
        planes = np.frombuffer(i420, np.uint8).reshape(height * 3 // 2, width)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        pts = max(round((at - self._start) / CLOCK), self._last_pts + 1)
        frame.pts, frame.time_base, self._last_pts = pts, CLOCK, pts
        self._work.put(frame)

    def sound(self, at: float, pcm: Pcm) -> None:
        """Add (n,) mono sound whose first sample arrived at `at`."""
        if self._start is None or at < self._start:
            return
        ahead = at - self._start - self._sound_end / self._rate
        if ahead > SOUND_GAP_S:
            self._put_sound(np.zeros(round(ahead * self._rate), np.int16))
        self._put_sound(pcm)

    def abandon(self) -> None:
        """Write nothing; a film that was there before stays."""
        if self._thread is not None:
            self._abandoned = True
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Finish the file; nothing is written when no picture came. Raises what encoding did."""
        if self._thread is None:
            return
        self._work.put(None)
        self._thread.join()
        self._thread = None
        if self._fault is not None:
            raise self._fault

    def _put_sound(self, pcm: Pcm) -> None:
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._sound_end
        self._sound_end += len(pcm)
        self._work.put(frame)

    def _run(self) -> None:
        # The pictures have their times already: what is watched goes first.
        with suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND)
        try:
            with (
                NewFile(self._path, callers_mode()) as new,
                av.open(str(new), "w", format="mp4") as out,
            ):
                out.metadata["comment"] = self._maker
                self._encode(out)
                if self._abandoned:
                    raise _Abandoned
        except Exception as error:
            self._fault = error

    def _encode(self, out: av.container.OutputContainer) -> None:
        video = out.add_stream(
            "libx264", rate=25, options={"preset": "ultrafast", "crf": "20", "threads": "1"}
        )
        video.width, video.height = self._size
        video.pix_fmt, video.time_base = "yuv420p", CLOCK
        video.codec_context.time_base = CLOCK
        audio = out.add_stream("aac", rate=self._rate, layout="mono")
        while (frame := self._work.get()) is not None:
            if isinstance(frame, av.VideoFrame):
                out.mux(video.encode(frame))
            else:
                out.mux(audio.encode(frame))
        out.mux(video.encode())
        out.mux(audio.encode())
