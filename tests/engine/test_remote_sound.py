"""The sound of jobs on its way to another process: nothing is lost, nothing travels twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.audio.speech import Speech
from engine.remote.sound_transfer import SoundReceiver, SoundSender

LEFT, RIGHT = 1600, 900  # not multiples of a picture's 640


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["push", "push", "push", "end", "clear"]),
            st.integers(1, 5000),  # samples to push
            st.integers(0, 4),  # frames to leave out
        ),
        max_size=30,
    ),
    st.integers(0, 2**32 - 1),
)
def test_every_window_arrives_as_it_was_cut(steps: list[tuple[str, int, int]], seed: int) -> None:
    noise = np.random.default_rng(seed)
    speech = Speech(LEFT, RIGHT)
    sender, receiver = SoundSender(LEFT), SoundReceiver(LEFT, RIGHT)
    generation, asked = 0, 0
    for action, samples, skipped in steps:
        if action == "push":
            speech.push(noise.integers(-32768, 32767, samples).astype(np.int16))
        elif action == "end":
            speech.end_segment()
        else:
            speech.clear()
            generation += 1
            asked = speech.frames
        while asked + skipped < speech.frames:
            asked += skipped
            window = speech.window(asked)
            name = (generation, window.segment)
            piece = sender.cut(name, window.frame, window.audio, window.unheard)
            there = receiver.window(name, window.frame, piece)
            np.testing.assert_array_equal(there, window.audio)
            asked += 1


def test_a_steady_stream_sends_each_sample_once() -> None:
    speech = Speech(80_000, 4000)
    sender = SoundSender(80_000)
    speech.push(np.ones(16_000 * 20, np.int16))
    sent = 0
    for frame in range(speech.complete):
        window = speech.window(frame)
        sent += len(sender.cut((0, 0), window.frame, window.audio, window.unheard).pcm)
    assert 0 <= 16_000 * 20 - sent < 640
