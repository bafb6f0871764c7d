"""Timing on a device: the roof that its matrix units reach, and passes of a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from engine.backends.torch_rung import WARM_UPS

SIDE = 8192
"""Of the square matrices of the roof, as in h200.md."""

WARM_S = 0.3
SAMPLES = 12


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def gemm_tflops(device: torch.device, seconds: float) -> float:
    """Half-precision TFLOP/s of a square matrix product, repeated for a given time."""
    side = SIDE if device.type == "cuda" else SIDE // 16
    left, right = (torch.randn(side, side, device=device).half() for _ in range(2))
    out = torch.empty_like(left)
    torch.mm(left, right, out=out)
    synchronise(device)
    runs, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(10):
            torch.mm(left, right, out=out)
        synchronise(device)
        runs += 10
    return runs * 2 * side**3 / (time.perf_counter() - begun) / 1e12


def graphed(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The same as a captured graph, where the device has them."""
    if device.type != "cuda":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    replay: Callable[[], object] = graph.replay
    return replay


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """Median time of a pass, measured over a few passes at a time after a warm-up."""
    until = time.perf_counter() + WARM_S
    passes = 0
    while not passes or time.perf_counter() < until:
        run()
        synchronise(device)
        passes += 1
    times = []
    for _ in range(SAMPLES if device.type == "cuda" else 3):
        begun = time.perf_counter()
        for _ in range(min(passes, 5)):
            run()
        synchronise(device)
        times.append((time.perf_counter() - begun) / min(passes, 5))
    return median(times) * 1e3


def sustained(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Passes a second over a given time."""
    passes, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        run()
        passes += 1
    synchronise(device)
    return passes / (time.perf_counter() - begun)
