"""Reads and writes video and audio files with PyAV; no ffmpeg command is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.video
import cv2
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from engine.core.cores import thread_limit
from engine.core.new_file import NewFile
from engine.core.shortage import blame
from engine.core.types import FPS, Picture
from engine.media.container import (
    ODD,
    check_count,
    check_size,
    fault_of,
    opened,
    reason_of_library,
    require_known,
)
from engine.media.container import MediaError as MediaError

LONGEST_GAP_S = 10.0  # between two frames of a video

HD_LINES = 720  # from this height on, a file without a colour space is taken as BT.709

BT601, LIMITED = 6, 1  # values of AVColorSpace and AVColorRange

_MATRICES = {
    1: Colorspace.ITU709,
    5: Colorspace.ITU601,
    BT601: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
}  # by AVColorSpace

Bgr = NDArray[np.uint8]  # (height, width, 3)
Pcm = NDArray[np.int16]  # (n,) mono


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video as it will be read: upright, width and height even, 25 frames a second."""

    width: int
    height: int
    source_fps: float  # of the file itself
    frames: int  # estimated from the duration; 0 if unknown

    @property
    def other_rate(self) -> bool:
        """Whether frames are repeated or dropped to reach 25 a second."""
        return abs(self.source_fps - FPS) > 0.02


def probe_video(path: Path) -> VideoInfo:
    """Size, rate and length of a video. Raises MediaError if it is not one."""
    with opened(path, "video") as container:
        if not container.streams.video:
            raise MediaError(f"{path.name} holds no video, only sound.")
        stream = container.streams.video[0]
        require_known(path, stream)
        check_size(path, stream.codec_context.width, stream.codec_context.height)
        check_count(path, stream.frames)
        first = next(container.decode(stream), None)
        if first is None:
            raise MediaError(f"{path.name} holds no picture that can be decoded.")
        height, width = _upright(first).shape[:2]
        seconds = float(container.duration or 0) / 1_000_000
        rate = float(stream.average_rate or stream.guessed_rate or FPS)
        return VideoInfo(width, height, rate, round(seconds * FPS))


def read_video(path: Path) -> Iterator[Bgr]:
    """The frames of a video as BGR at 25 a second, upright, with even width and height.

    A file of another rate gives, for each 40 ms, the picture shown in the middle of them. Raises
    MediaError with the number of the first unreadable frame.
    """
    given = 0
    shape: tuple[int, ...] | None = None
    with opened(path, "video") as container:
        try:
            for number, (frame, until) in enumerate(_shown(container)):
                check_count(path, number)
                if until - given / FPS > LONGEST_GAP_S:
                    raise MediaError(
                        f"{path.name} shows frame {given} for {until - given / FPS:.0f} s: "
                        f"{LONGEST_GAP_S:.0f} s is the longest."
                    )
                if _ticks(until) <= given:
                    continue
                picture = _upright(frame)
                shape = shape or picture.shape
                if picture.shape != shape:
                    raise MediaError(f"{path.name} has frames of another size from {given} on.")
                while _ticks(until) > given:
                    yield picture
                    given += 1
        except (av.FFmpegError, *ODD) as error:
            reason = reason_of_library(error)
            broken = f"{path.name} is unreadable from frame {given} on: {reason}."
            raise fault_of(path, error, MediaError(broken)) from error


def _shown(container: av.container.InputContainer) -> Iterator[tuple[av.VideoFrame, float]]:
    """Each frame and the time until which it is shown, in seconds since the first frame."""
    last: av.VideoFrame | None = None
    start = at = 0.0
    for number, frame in enumerate(container.decode(video=0)):
        at = number / FPS if frame.time is None else frame.time
        if last is None:
            start = at
        else:
            yield last, at - start
        last = frame
    if last is not None:
        own = float(last.duration * (last.time_base or 0)) if last.duration else 1 / FPS
        yield last, max(at - start + own, 1 / FPS)


def _ticks(seconds: float) -> int:
    """Number of 40 ms slots whose middle lies before a time."""
    return math.ceil(seconds * FPS - 0.5 - 1e-6)


def _upright(frame: av.VideoFrame) -> Bgr:
    """BGR as a player shows it: rotated as the file says, cropped to even width and height."""
    picture = np.rot90(_bgr(frame), round(frame.rotation / 90) % 4)
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height & ~1, : width & ~1])


def _bgr(frame: av.VideoFrame) -> Bgr:
    """A frame in the colours of OpenCV's I420: BT.601, limited range."""
    if frame.width % 2 or frame.height % 2:
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    usual = Colorspace.ITU709 if frame.height >= HD_LINES else Colorspace.ITU601
    planes = frame.reformat(
        format="yuv420p",
        src_colorspace=_MATRICES.get(frame.colorspace, usual),
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
    )
    # swscale's conversion to BGR darkens by one level; OpenCV's round trip is exact.
    return np.asarray(cv2.cvtColor(planes.to_ndarray(), cv2.COLOR_YUV2BGR_I420), np.uint8)


def read_audio(path: Path, rate: int) -> Pcm:
    """Reads a sound file of any format, rate and channel count as mono int16 at `rate` Hz.

    Raises MediaError if it is empty, damaged, or not a sound file.
    """
    with opened(path, "audio file") as container:
        if not container.streams.audio:
            raise MediaError(f"{path.name} holds no sound.")
        require_known(path, container.streams.audio[0])
        source_rate = container.streams.audio[0].rate
        # 16 bits, because mixing channels into float samples may exceed full scale.
        to_mono = AudioResampler("s16", "mono", source_rate)
        pieces = [
            piece.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for piece in to_mono.resample(frame)
        ]
        pieces += [piece.to_ndarray()[0] for piece in to_mono.resample(None)]
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if samples.size == 0:
        raise MediaError(f"{path.name} holds no sound: it is 0 s long.")
    converted = soxr.resample(samples.astype(np.float32), source_rate, rate)
    pcm: Pcm = np.clip(np.round(converted), -32768, 32767).astype(np.int16)
    return pcm


class Mp4Writer:
    """Writes H.264 and AAC to an mp4 at 25 pictures a second; use as a context manager.

    The file appears once it is complete, and not at all after an exception.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        rate: int,
        *,
        comment: str = "",
        mode: int | None = None,
    ) -> None:
        """Raises MediaError if the file cannot be written.

        Args:
            rate: Hz of the mono sound.
            comment: put into the file.
            mode: of the file, if it is new.
        """
        self._path = path
        try:
            self._new = NewFile(path, mode)  # PyAV would only find out at the first picture
        except OSError as error:
            unwritable = MediaError(f"{path} cannot be written: {error.strerror}.")
            raise blame(error, unwritable) from error
        options = {"movflags": "faststart"}
        self._container = av.open(str(self._new.path), "w", format="mp4", options=options)
        self._container.metadata["comment"] = comment
        options = {"crf": "18", "preset": "veryfast", "threads": str(thread_limit())}
        video = self._container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.colorspace, video.codec_context.color_range = BT601, LIMITED
        self._video = video
        self._audio = self._container.add_stream("aac", rate=rate, layout="mono")
        self._audio.bit_rate = 96_000
        self._rate = rate
        self._shape = (height * 3 // 2, width)
        self._pictures = self._samples = 0

    def picture(self, picture: Picture) -> None:
        """The next 40 ms, as I420."""
        frame = av.VideoFrame.from_ndarray(picture.reshape(self._shape), format="yuv420p")
        frame.pts, frame.time_base = self._pictures, Fraction(1, FPS)
        self._pictures += 1
        self._container.mux(self._video.encode(frame))

    def sound(self, pcm: Pcm) -> None:
        """The next samples."""
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.pts, frame.time_base = self._samples, Fraction(1, self._rate)
        self._samples += len(pcm)
        self._container.mux(self._audio.encode(frame))

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            with suppress(av.FFmpegError):  # what it could not write matters no more
                self._container.close()
            self._new.discard()
            return
        try:
            self._container.mux(self._video.encode(None))
            self._container.mux(self._audio.encode(None))
            self._container.close()
            self._new.keep()
        except OSError as failed:  # PyAV's of a full disk is one, too
            self._new.discard()
            unwritable = MediaError(f"{self._path} cannot be written: {failed.strerror}.")
            raise blame(failed, unwritable) from failed
