"""The bench measures what it says; how fast this machine is, is no test's business."""

from __future__ import annotations

import cv2
import pytest

from bench.engine import blending as bench_blending
from bench.engine.blending import bench, table


def test_without_a_gpu_the_processor_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_blending, "BATCHES", (1, 5))
    threads = cv2.getNumThreads()
    report = bench("cpu", threads=2, seconds=0.0)
    assert [row.batch for row in report.rows] == [1, 5]
    assert all(row.serial_ms > 0 and row.parallel_ms > 0 for row in report.rows)
    assert all(row.gpu_ms is None for row in report.rows)
    assert table(report).splitlines()[-1].split()[-1] == "-"
    assert cv2.getNumThreads() == threads
