"""The persona that comes with the project."""

from __future__ import annotations

import itertools

import numpy as np

from engine.media.video import probe_video, read_video
from tests.videos import DEFAULT


def test_it_is_seven_seconds_of_idle_motion_without_a_jump() -> None:
    info = probe_video(DEFAULT)
    assert (info.width, info.height, info.other_rate) == (512, 512, False)
    frames = [frame[::2, ::2].astype(np.int16) for frame in read_video(DEFAULT)]
    assert 6 * 25 <= len(frames) <= 8 * 25
    steps = np.array([np.abs(a - b).mean() for a, b in itertools.pairwise(frames)])
    assert steps.max() < 1.0  # a blink is the fastest
    assert steps[5:-5].min() > 0.02  # never frozen
    assert steps[[0, 1, -2, -1]].max() < 0.06  # at rest where it turns back
