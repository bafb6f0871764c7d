"""Streamed features against those of the whole file, through an encoder."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from bench.engine.features import Measured, measure
from engine.audio.features import Hearing
from engine.core.engine_errors import BackendUnavailable
from engine.models import networks
from engine.models.configs import SIZES
from tests.engine.speech import speech_like

CLIP = speech_like(16_000 * 3)


@pytest.fixture(scope="module")
def encoder() -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield networks.build("whisper", SIZES["tiny"]["whisper"])
    torch.set_num_threads(threads)


def measured(encoder: Any, hearing: Hearing) -> Measured:
    return next(iter(measure(encoder, CLIP, [hearing], samples=3)))


def test_streaming_equals_the_whole_file_for_a_clip_shorter_than_the_window(encoder: Any) -> None:
    row = measured(encoder, Hearing(left=150, right=150, form="padded"))
    assert row.stem < 1e-5
    assert row.layers < 1e-5
    assert row.same_place < 1e-5


def test_convolutions_hear_all_they_need_with_no_right_context(encoder: Any) -> None:
    """§5.1: 92.5 ms after a picture's own sound, its stems are final."""
    loud_first = CLIP.copy()
    loud_first[:640] = 20_000 * np.sign(np.sin(np.arange(640)))  # so that the floor is the file's
    hearing = Hearing(left=150, right=0, form="padded")
    row = next(iter(measure(encoder, loud_first, [hearing], samples=3)))
    assert row.stem < 1e-5
    assert row.layers > 1e-4  # they attend to the sound to come


def test_a_window_that_slides_differs_and_a_longer_one_differs_less(encoder: Any) -> None:
    short, long = (measured(encoder, Hearing(left, 0)) for left in (10, 60))
    assert 0 < long.same_place < short.same_place


def test_a_clip_of_no_picture_is_refused(encoder: Any) -> None:
    with pytest.raises(BackendUnavailable, match="shorter than a picture"):
        list(measure(encoder, CLIP[:639], [Hearing()], samples=1))


def test_the_command_tells_whose_weights_it_used(tmp_path: Path, tiny_models: Path) -> None:
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(CLIP[:16_000].tobytes())
    arguments = ["--audio", str(tmp_path / "speech.wav"), "--models", str(tmp_path)]
    sizes = ["--left", "10", "--right", "0", "--samples", "1"]
    done = CliRunner().invoke(app, ["bench", "features", *arguments, *sizes])
    assert done.exit_code == 0, done.output
    assert "Weights: random, seed 0." in done.output
    assert done.output.count("132.5 ms") == 2  # truncated and padded
    own = {"VOIPAVATAR_MODELS_DIR": str(tiny_models)}
    taken = CliRunner().invoke(app, ["bench", "features", *arguments[:2], *sizes], env=own)
    assert "Weights: random, seed 7." in taken.output
    refused = CliRunner().invoke(app, ["bench", "features", *arguments, "--left", "3"])
    assert refused.exit_code == 1
    assert "Left context must be at least" in refused.output
