"""Audio of any shape, cut in step for the room and for the engine."""

import numpy as np
import pytest

from app.rtc.output.speech_in import OUT_RATE, OUT_SAMPLES, Converter, Cutter, loudness


def tone(rate: int, channels: int, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(int(rate * seconds)) / rate
    mono = (12000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
    return np.repeat(mono, channels)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channel_count_keeps_length_level_and_alignment(
    rate: int, channels: int
) -> None:
    converter = Converter(rate, channels)
    pcm = tone(rate, channels)
    out, heard = [], []
    for start in range(0, len(pcm), 441 * channels):
        a, b = converter.feed(pcm[start : start + 441 * channels])
        out.append(a)
        heard.append(b)
    a, b = converter.feed(np.zeros(0, np.int16), last=True)
    published, engine = np.concatenate([*out, a]), np.concatenate([*heard, b])
    assert abs(len(published) - OUT_RATE) <= 1
    assert abs(len(engine) - 16000) <= 1
    assert loudness(published) == pytest.approx(12000 / 32768 / np.sqrt(2), rel=0.02)
    middle = slice(4000, 12000)
    assert np.corrcoef(published[::3][middle], engine[middle])[0, 1] > 0.999


def test_a_cutter_gives_equal_pieces_and_pads_the_last() -> None:
    cutter = Cutter(OUT_SAMPLES)
    pieces = []
    for size in (100, 5000, 1, 700):
        pieces += cutter.feed(np.ones(size, np.int16))
    rest = cutter.flush()
    assert [len(p) for p in pieces + rest] == [OUT_SAMPLES] * 4
    assert sum(int(p.sum()) for p in pieces + rest) == 5801
    assert cutter.flush() == []


def test_loudness_is_rms_of_full_scale() -> None:
    assert loudness(np.full(10, 16384, np.int16)) == pytest.approx(0.5)
    assert loudness(np.zeros(0, np.int16)) == 0.0
