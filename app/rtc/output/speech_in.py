"""Speech as it comes in, cut into 40 ms for the room and for the engine, in step."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from engine import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

OUT_RATE = 48_000  # Hz of the published audio: Opus's own rate
OUT_SAMPLES = OUT_RATE // FPS  # 1920: a tick's 40 ms

Pcm = NDArray[np.int16]


class Converter:
    """One segment's audio, of any rate and channel count, as 48 kHz and 16 kHz mono.

    Both come from the source itself through linear-phase filters, so sample k of one and 3k of
    the other belong together however late each filter gives them out.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._channels = channels
        self._out = None if rate == OUT_RATE else soxr.ResampleStream(rate, OUT_RATE, 1, "int16")
        self._heard = (
            None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "int16")
        )

    def feed(self, pcm: Pcm, *, last: bool = False) -> tuple[Pcm, Pcm]:
        """(n * channels,) interleaved int16 in; what is ready at 48 kHz and at 16 kHz out."""
        mono = pcm if self._channels == 1 else self._downmix(pcm)
        return self._through(self._out, mono, last), self._through(self._heard, mono, last)

    def _downmix(self, pcm: Pcm) -> Pcm:
        mixed: Pcm = pcm.reshape(-1, self._channels).mean(axis=1).astype(np.int16)
        return mixed

    @staticmethod
    def _through(stream: soxr.ResampleStream | None, mono: Pcm, last: bool) -> Pcm:
        if stream is None:
            return mono
        converted: Pcm = stream.resample_chunk(mono, last=last)
        return converted


class Cutter:
    """Cuts a stream of samples into pieces of equal length; `flush` pads the last with zeros."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: list[Pcm] = []
        self._held = 0

    def feed(self, pcm: Pcm) -> list[Pcm]:
        self._parts.append(pcm)
        self._held += len(pcm)
        if self._held < self._size:
            return []
        joined = np.concatenate(self._parts)
        whole = len(joined) // self._size * self._size
        self._parts, self._held = [joined[whole:]], len(joined) - whole
        return list(joined[:whole].reshape(-1, self._size))

    def flush(self) -> list[Pcm]:
        if not self._held:
            return []
        tail = np.zeros(self._size, np.int16)
        joined = np.concatenate(self._parts)
        tail[: len(joined)] = joined
        self._parts, self._held = [], 0
        return [tail]


def loudness(pcm: Pcm) -> float:
    """RMS of a piece of audio, 0..1 of full scale."""
    if not len(pcm):
        return 0.0
    return float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64)))) / 32768


__all__ = ["OUT_RATE", "OUT_SAMPLES", "SAMPLES_PER_FRAME", "Converter", "Cutter", "loudness"]
