"""`voipavatar samples`, and how commands refuse an engine that is not there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.shipped import SAMPLE


def voipavatar(*words: object, **env: str) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "300", **env})


def test_the_sample_of_the_repository_is_copied(tmp_path: Path) -> None:
    out = tmp_path / "new" / "speech.wav"
    done = voipavatar("samples", "--out", out)
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == SAMPLE.read_bytes()
    assert "a copy of the sample" in done.output
    again = voipavatar("samples", "--out", out)
    assert again.exit_code == 1
    assert "exists; name another file" in again.output


def test_speech_of_ones_own_needs_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    refused = voipavatar("samples", "--text", "Good day", "--out", tmp_path / "own.wav")
    assert refused.exit_code == 1
    assert "apt install espeak-ng" in refused.output
    assert not (tmp_path / "own.wav").exists()


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (["--engine", "onnx"], {}, "There is no engine called 'onnx'. Use auto, warp, torch"),
        (["--engine", "warp"], {"VOIPAVATAR_ENGINE": "gpu"}, "Wrong setting VOIPAVATAR_ENGINE"),
        (["--tensorrt"], {}, "make setup-all && uv pip install -e '.[tensorrt]'"),
    ],
)
def test_an_engine_that_is_not_here_is_refused_in_a_sentence(
    tmp_path: Path,
    words: list[str],
    env: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the video is looked at, so that nobody waits for that."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "engine.backends.musetalk_tensorrt", raising=False)
    command = ["bench", "realtime", "--video", tmp_path / "none.mp4", *words]
    refused = voipavatar(*command, VOIPAVATAR_DATA_DIR=str(tmp_path), **env)
    assert refused.exit_code == 1
    assert sentence in refused.output
    assert len(refused.output.splitlines()) == 1
