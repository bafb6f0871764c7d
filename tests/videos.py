"""Small real videos and sound files for tests, written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Bgr = NDArray[np.uint8]

DEFAULT = Path(__file__).parents[1] / "personas" / "default" / "default.mp4"
SIDE = 256


@cache
def persona_frames(count: int = 30) -> tuple[Bgr, ...]:
    """The first frames of the default persona at 256 x 256."""
    with av.open(str(DEFAULT)) as container:
        pictures = []
        for frame, _ in zip(container.decode(video=0), range(count), strict=False):
            whole = frame.to_ndarray(format="bgr24")
            pictures.append(resized(whole.astype(np.uint8, copy=False), SIDE))
    return tuple(pictures)


def resized(picture: Bgr, side: int) -> Bgr:
    """A square of it."""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def write_video(
    path: Path, frames: Sequence[Bgr], rate: int | Fraction = 25, pixels: str = "yuv420p"
) -> Path:
    """H.264 of good quality; odd sizes need `pixels="yuv444p"`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.pix_fmt = pixels
        stream.height, stream.width = frames[0].shape[:2]
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def tone(seconds: float, rate: int, hz: float = 440.0, level: float = 0.5) -> NDArray[np.float64]:
    """(n,) a sine wave, -1 … 1."""
    return level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def write_sound(
    path: Path,
    samples: NDArray[np.float64],
    rate: int,
    codec: str = "pcm_s16le",
    layout: str = "mono",
) -> Path:
    """Samples (n,) in -1 … 1, the same on every channel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        channels = stream.layout.nb_channels
        sound = np.repeat(samples.astype(np.float32)[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
        frame.sample_rate = rate
        to_codec = av.AudioResampler(stream.format, layout, rate)
        for piece in [*to_codec.resample(frame), *to_codec.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def sound_seconds(stream: av.AudioStream) -> float:
    """How long its container says that it is."""
    assert stream.duration is not None
    assert stream.time_base is not None
    return float(stream.duration * stream.time_base)


def grey(levels: Sequence[int], side: int = 64) -> list[Bgr]:
    """A frame of one grey for each level."""
    return [np.full((side, side, 3), level, np.uint8) for level in levels]
