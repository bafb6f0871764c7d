"""The measures on made-up sights and sounds with known answers."""

import numpy as np
import pytest

from bench.measure import clicks
from bench.measure.align import align, continuity
from bench.measure.pace import pace
from bench.measure.recording import Floats, Pcm, Seen, TimedAudio
from bench.measure.sync import (
    closing,
    find_offset,
    loudness_curve,
    mouth_loudness,
    pearson,
    reference_curve,
    speech_span,
)
from tests.about import about

RATE = 16_000
FRAME = 640


def babble(seconds: float, seed: int = 1) -> np.ndarray:
    """Noise with syllables of chance lengths, loudness and colour, and pauses between phrases."""
    chance = np.random.default_rng(seed)
    out = np.zeros(round(seconds * RATE))
    at = round(0.4 * RATE)
    while at < len(out) - RATE:
        length = int(chance.uniform(0.08, 0.25) * RATE)
        noise = np.convolve(
            chance.normal(size=length), np.ones(int(chance.integers(2, 12))), "same"
        )
        shape = np.sin(np.linspace(0, np.pi, length)) * chance.uniform(0.05, 0.4)
        out[at : at + length] = noise / np.abs(noise).max() * shape
        at += length + int(chance.choice([0.01, 0.03, 0.5], p=[0.6, 0.3, 0.1]) * RATE)
    return (out * 32767).astype(np.int16)


def ticks(count: int) -> Floats:
    """(count,) the moments of pictures that begin at 0."""
    return np.arange(count, dtype=np.float64) * 0.04


def own_loudness(pcm: Pcm) -> Floats:
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME) / 32768.0
    loudness: Floats = np.sqrt(np.mean(np.square(frames), axis=1))
    return loudness


def received(pcm: np.ndarray, latency_s: float, jitter_s: float = 0.0) -> TimedAudio:
    chance = np.random.default_rng(7)
    pieces = [pcm[i : i + 160] for i in range(0, len(pcm), 160)]
    late = chance.uniform(0, jitter_s, len(pieces)) if jitter_s else np.zeros(len(pieces))
    return TimedAudio.of(
        [(100 + latency_s + i * 0.01 + late[i], p) for i, p in enumerate(pieces)], RATE
    )


def pictures(pcm: np.ndarray, latency_s: float, jitter_s: float = 0.002) -> Seen:
    opened = own_loudness(pcm)
    chance = np.random.default_rng(9)
    times = 100 + latency_s + np.arange(len(opened)) * 0.04
    return Seen(times + chance.uniform(-jitter_s, jitter_s, len(opened)), opened)


@pytest.mark.parametrize("offset_ms", [-120, -45, 0, 37, 90])
def test_a_known_offset_is_found_by_loudness(offset_ms: int) -> None:
    pcm = babble(20)
    seen = pictures(pcm, 0.2 + offset_ms / 1000)
    found = find_offset(seen, loudness_curve(received(pcm, 0.2, 0.002)))
    assert found.seconds * 1000 == pytest.approx(offset_ms, abs=5)


@pytest.mark.parametrize("offset_ms", [-60, 0, 37])
def test_a_slow_mouth_is_not_taken_for_an_offset_when_a_reference_is_there(offset_ms: int) -> None:
    pcm = babble(20)
    slow: Floats = np.convolve(own_loudness(pcm), [0.4, 0.3, 0.2, 0.1])[: len(pcm) // FRAME]
    seen = Seen(100.2 + offset_ms / 1000 + ticks(len(slow)), slow)
    alignment = align(received(pcm, 0.0), received(pcm, 0.2, 0.002))
    found = find_offset(seen, reference_curve(alignment, slow))
    assert found.seconds * 1000 == pytest.approx(offset_ms, abs=5)
    assert found.fit > 0.97
    # Loudness alone is misled by such a mouth: that is why the reference is there.
    misled = find_offset(seen, loudness_curve(received(pcm, 0.2)))
    assert misled.seconds * 1000 > offset_ms + 15


def test_two_seconds_are_enough_for_the_reference() -> None:
    pcm = babble(20)
    alignment = align(received(pcm, 0.0), received(pcm, 0.2))
    seen = pictures(pcm, 0.237)
    curve = reference_curve(alignment, own_loudness(pcm))
    for start in (102, 107, 112):
        found = find_offset(seen.between(start, start + 2), curve)
        assert found.seconds * 1000 == pytest.approx(37, abs=6)


def test_unrelated_pictures_have_no_offset() -> None:
    seen = Seen(100.2 + ticks(500), np.random.default_rng(3).uniform(size=500))
    found = find_offset(seen, loudness_curve(received(babble(20), 0.2)))
    assert np.isnan(found.seconds)


def test_latency_is_found_to_a_millisecond() -> None:
    pcm = babble(12)
    alignment = align(received(pcm, 0.0), received(pcm, 0.187)).sure
    assert len(alignment.positions) > 50
    assert np.percentile(alignment.latencies, [5, 50, 95]) == pytest.approx([0.187] * 3, abs=0.001)


def test_nothing_is_missing_from_a_whole_recording() -> None:
    pcm = babble(12)
    result = continuity(align(received(pcm, 0.0), received(pcm, 0.187)))
    assert (result.missing, result.latest_s < 0.002) == (0, True)
    assert result.pieces > 100


def test_lost_and_late_audio_is_noticed() -> None:
    pcm = babble(12)
    cut = pcm.copy()
    loud = int(np.argmax(own_loudness(pcm)[100:120])) + 100
    cut[loud * FRAME : (loud + 2) * FRAME] = 0
    lost = continuity(align(received(pcm, 0.0), received(cut, 0.187)))
    assert 1 <= lost.missing <= 3
    delayed = np.concatenate([pcm[: 6 * RATE], np.zeros(3200, np.int16), pcm[6 * RATE :]])
    late = continuity(align(received(pcm, 0.0), received(delayed, 0.187)))
    assert late.latest_s == pytest.approx(0.1, abs=0.11)  # half the median's way or all of it
    assert late.latest_s > 0.09


def test_pace_counts_the_gap() -> None:
    times = np.arange(0, 10, 0.04)
    even = pace(times)
    assert (round(even.fps, 3), round(even.longest_gap_s, 3)) == (25.0, 0.04)
    holed = pace(np.delete(times, [100, 101, 102]))
    assert holed.longest_gap_s == pytest.approx(0.16)
    assert holed.gaps == {60: 1, 100: 1, 120: 1, 200: 0}
    assert holed.fps < 24.8
    assert pace(times[:1]).fps == 0


def test_correlation_of_mouth_and_loudness() -> None:
    pcm = babble(20)
    heard = received(pcm, 0.2)
    assert mouth_loudness(pictures(pcm, 0.2, 0.0), heard, 100.2, 119) > 0.99
    assert mouth_loudness(pictures(pcm, 0.4, 0.0), heard, 100.2, 119) < 0.6
    still = Seen(np.arange(100.2, 119, 0.04), np.zeros(470))
    assert mouth_loudness(still, heard, 100.2, 119) == -1


def test_correlation_is_what_was_mixed_in() -> None:
    chance = np.random.default_rng(5)
    x, y = chance.normal(size=20_000), chance.normal(size=20_000)
    assert pearson(x, 0.6 * x + 0.8 * y) == pytest.approx(0.6, abs=0.02)


def test_a_mouth_that_closes_late_is_noticed() -> None:
    times = np.arange(0, 8, 0.04)
    openings = np.where((times > 2) & (times < 5.7), 0.3, 0.01)
    seen = Seen(times, openings)
    result = closing(seen, seen.between(0, 2), 2.0, 5.0)
    assert result.after_s == pytest.approx(0.72, abs=0.04)
    assert 0.01 < result.limit < 0.1
    prompt = Seen(times, np.where((times > 2) & (times < 5.2), 0.3, 0.01))
    assert closing(prompt, seen.between(0, 2), 2.0, 5.0).after_s == pytest.approx(0.2, abs=0.04)
    gaping = Seen(times, np.where(times > 2, 0.3, 0.01))
    assert closing(gaping, seen.between(0, 2), 2.0, 5.0).after_s == float("inf")


def test_the_span_of_speech() -> None:
    pcm = np.zeros(5 * RATE, np.int16)
    pcm[2 * RATE : 3 * RATE] = 3000
    start, end = speech_span(received(pcm, 0.2), 100.5)
    assert (start, end) == (about(102.2, abs=0.02), about(103.2, abs=0.02))
    assert np.isnan(speech_span(received(np.zeros(RATE, np.int16), 0.2), 100)[0])


@pytest.mark.parametrize("offset_ms", [-30, 0, 37])
def test_clicks_agree(offset_ms: int) -> None:
    pcm, starts = clicks.click_track(60, RATE)
    heard = received(pcm, 0.2)
    tones = clicks.onsets(heard)
    assert tones == pytest.approx(100.2 + starts, abs=0.002)
    offline = Seen(ticks(len(pcm) // FRAME), own_loudness(pcm))
    late = clicks.click_offset(pictures(pcm, 0.2 + offset_ms / 1000), tones, offline, starts)
    assert late.mean() * 1000 == pytest.approx(offset_ms, abs=6)
