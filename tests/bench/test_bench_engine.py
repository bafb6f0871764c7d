"""The bench measures what it says; how fast this machine is, is no test's business."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bench.engine.warp import bench, table
from engine.backends.warp import WarpBackend
from tests.engine.drawn import HEIGHT, WIDTH, drawn_persona

TONE = (8000 * np.sin(np.arange(640 * 6) * 0.3)).astype(np.int16)
HUSH = np.zeros(640 * 4, np.int16)


def test_every_rung_is_measured_over_the_talking_frames() -> None:
    threads = cv2.getNumThreads()
    report = bench(drawn_persona(), np.concatenate([TONE, HUSH]), seconds=0.01)
    assert [row.batch for row in report.rows] == list(WarpBackend.rungs)
    assert (report.width, report.height, report.frames) == (WIDTH, HEIGHT, 6)
    for row in report.rows:
        assert row.pictures_fps == pytest.approx(1000 / (row.paint_ms + row.paste_ms))
        assert row.faces_fps == pytest.approx(1000 / row.paint_ms)
    assert len(table(report).splitlines()) == 2 + len(report.rows)
    assert cv2.getNumThreads() == threads


def test_silence_is_no_speech() -> None:
    with pytest.raises(ValueError, match="silent"):
        bench(drawn_persona(), HUSH)
