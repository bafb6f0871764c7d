"""What `voipavatar run` says before it joins a room."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from engine.core.engine_errors import BackendUnavailable
from engine.engine_config import EngineConfig
from engine.serving import pool


def test_an_engine_that_is_not_installed_is_told_before_anybody_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """LiveKit has no key here, which would be the next thing to say."""
    asked: list[str] = []

    def load(config: EngineConfig) -> None:
        asked.append(config.backend)
        raise BackendUnavailable("TensorRT is not installed.", "Install it.")

    monkeypatch.setattr(pool, "load_backend", load)
    monkeypatch.setenv("VOIPAVATAR_DATA_DIR", str(tmp_path))
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["run", "--room", "x", "--use-tensorrt"])
    assert done.exit_code == 1
    assert "TensorRT is not installed. Install it." in done.output
    assert asked == ["tensorrt"]
