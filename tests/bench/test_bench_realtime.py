"""The bench paints what a session would; how fast this machine is, is no test's business."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.engine.realtime import as_json, bench, table
from engine.backends.warp import WarpBackend
from engine.engine_config import EngineConfig
from tests.engine.drawn import HEIGHT, WIDTH, drawn_persona

CONFIG = EngineConfig(backend="warp")
TONE = (8000 * np.sin(np.arange(640 * 22) * 0.3)).astype(np.int16)
HUSH = np.zeros(640 * 13, np.int16)
SPEECH = np.concatenate([TONE, HUSH, TONE[: 640 * 3 + 200]])


def test_every_picture_of_the_speech_is_painted_once() -> None:
    report = bench(WarpBackend(CONFIG), CONFIG, drawn_persona(), SPEECH, chunk_s=0.4)
    assert [chunk.pictures for chunk in report.chunks][1:3] == [10, 10]
    assert sum(chunk.pictures for chunk in report.chunks) == 39
    assert sum(chunk.inferred for chunk in report.chunks) == 26
    assert report.size == (WIDTH, HEIGHT)
    assert report.sound_s == pytest.approx(len(SPEECH) / 16_000)
    work = sum(chunk.latency_ms for chunk in report.chunks) / 1000
    assert report.ratio == pytest.approx(report.sound_s / work)
    text = table(report)
    assert "pictures 39, of them painted 26" in text
    assert f"real-time ratio {report.ratio:.2f}" in text
    assert json.loads(as_json(report))["ratio"] == report.ratio
