"""Which sound a picture hears."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audio.speech import Speech
from engine.core.types import Pcm

LEFT, RIGHT = 1600, 320
OWN = 640


def ramp(samples: int, start: int = 1) -> Pcm:
    """Every sample tells its own place."""
    return (np.arange(start, start + samples) % 30_000 + 1).astype(np.int16)


@given(st.lists(st.integers(0, 3000), max_size=12), st.integers(0, 10))
def test_a_window_is_cut_from_its_segment_and_zeros(pieces: list[int], frame: int) -> None:
    """However the sound came in, in pieces of any size."""
    whole = ramp(sum(pieces))
    speech, at = Speech(LEFT, RIGHT), 0
    for piece in pieces:
        speech.push(whole[at : at + piece])
        at += piece
    speech.end_segment()
    window = speech.window(frame)
    padded = np.concatenate([np.zeros(LEFT, np.int16), whole, np.zeros(20_000, np.int16)])
    expected = padded[frame * OWN : frame * OWN + LEFT + OWN + RIGHT]
    np.testing.assert_array_equal(window.audio, expected)
    past = (frame + 1) * OWN + RIGHT - len(whole)
    assert window.unheard == min(max(past, 0), LEFT + OWN + RIGHT if pieces else OWN + RIGHT)


@pytest.mark.parametrize(
    ("samples", "ended", "frames", "complete"),
    [
        (0, False, 0, 0),
        (639, False, 0, 0),
        (640, False, 1, 0),
        (960, False, 1, 1),
        (1280, False, 2, 1),
        (641, True, 2, 2),
        (1280, True, 2, 2),
    ],
)
def test_frames_and_those_that_can_be_painted(
    samples: int, ended: bool, frames: int, complete: int
) -> None:
    speech = Speech(LEFT, RIGHT)
    speech.push(ramp(samples))
    if ended:
        speech.end_segment()
    assert (speech.frames, speech.complete) == (frames, complete)


def test_segments_are_numbered_through_and_do_not_hear_each_other() -> None:
    speech = Speech(LEFT, RIGHT)
    for start in (1, 5000):
        speech.push(ramp(1000, start))
        speech.end_segment()
    assert speech.frames == 4
    first, last, second = speech.window(0), speech.window(1), speech.window(2)
    assert (first.segment, first.frame) == (0, 0)
    assert (last.segment, last.frame) == (0, 1)
    assert not last.audio[LEFT + 360 :].any()
    assert (second.segment, second.frame) == (1, 0)
    assert not second.audio[:LEFT].any()
    assert second.audio[LEFT] == ramp(1, 5000)[0]


def test_a_long_speech_is_forgotten_behind_what_is_asked_for() -> None:
    speech, second = Speech(LEFT, RIGHT), 25 * OWN
    tracemalloc.start()
    for count in range(299):
        speech.push(ramp(second, count * second))
        speech.window(25 * count + 24)
    speech.push(ramp(second, 299 * second))
    window = speech.window(25 * 299 + 24)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = np.concatenate([ramp(LEFT + OWN, 300 * second - OWN - LEFT), np.zeros(RIGHT)])
    np.testing.assert_array_equal(window.audio, expected)
    assert held < 1 << 20  # of 9.6 MB that were spoken


def test_clearing_forgets_the_sound_and_goes_on_counting() -> None:
    speech = Speech(LEFT, RIGHT)
    speech.push(ramp(1500))
    speech.clear()
    assert speech.frames == speech.complete == 2
    speech.push(ramp(OWN, 9000))
    window = speech.window(2)
    assert (window.segment, window.frame) == (1, 0)
    assert window.audio[LEFT] == ramp(1, 9000)[0]
    assert not window.audio[:LEFT].any()


def test_loudness_is_of_the_frames_own_sound() -> None:
    speech = Speech(LEFT, RIGHT)
    speech.push(np.zeros(OWN, np.int16))
    speech.push(np.full(OWN, 16_384, np.int16))
    speech.end_segment()
    assert speech.window(0).rms == 0.0
    assert speech.window(1).rms == pytest.approx(0.5)


def test_a_frame_nobody_spoke_is_silence() -> None:
    window = Speech(LEFT, RIGHT).window(3)
    assert window.rms == 0.0
    assert len(window.audio) == LEFT + OWN + RIGHT
    assert not window.audio.any()
