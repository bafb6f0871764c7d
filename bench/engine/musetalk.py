"""Speed of MuseTalk's networks at every batch size, and of the reference's own loop."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.engine.device import gemm_tflops, graphed, milliseconds, sustained, synchronise
from bench.engine.reference import BATCH, Reference, load_reference
from bench.report.columns import columns
from engine.backends.musetalk_torch import TorchBackend
from engine.backends.torch_rung import Inputs
from engine.core.persona import Persona
from engine.core.types import SAMPLES_PER_FRAME, Faces, FrameJob
from engine.engine_config import EngineConfig
from engine.models import networks, whisper
from engine.models.pipeline import TOKENS, Pipeline, load_pipeline
from engine.musetalk.image import to_faces
from engine.musetalk.positional import positional_table
from engine.picture.latents import SHAPE
from engine.serving.warmup import blank_persona

SUSTAINED_BATCH = 16
GATE_PIECE = 8
"""Pictures that the published modules get at once: single precision takes much memory."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Row:
    """A batch size: graph replays of the parts, and the whole as the service runs it."""

    batch: int
    listen_ms: float
    unet_ms: float
    decoder_ms: float  # uint8 BGR included
    run_ms: float  # from jobs to faces on the host, nothing else under way
    post_ms: float  # what of run_ms is none of the networks': features, copies
    fps: float  # of networks alone
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Pictures against those of the published modules in single precision.

    From the inputs of the serving path as it ran them, sound included.
    """

    batch: int
    worst_level: int
    mean_level: float
    psnr_db: float


@dataclass(frozen=True, slots=True)
class Report:
    device: str
    decoder: str
    rows: list[Row]
    gates: list[Gate]
    start_s: float  # the backend's: load, choose algorithms, compile kernels, capture
    sustained_fps: float  # jobs to faces on the host, two batches under way
    sustained_s: float
    roof_burst_tflops: float
    roof_tflops: float  # sustained, right after
    eager_loop_fps: float  # the reference's loop, batch 20
    eager_graph_fps: float  # its modules in a CUDA graph, at the batch that was sustained


@cache
def _persona() -> Persona:
    """Of all jobs, so that its latents are looked up once, as those of live sessions are."""
    return blank_persona()


def jobs_of(backend: TorchBackend, count: int, frame: int) -> list[FrameJob]:
    """Jobs of as many speaking streams, well into their segments."""
    persona = _persona()
    size = backend.left_context + SAMPLES_PER_FRAME + backend.lookahead
    noise = np.random.default_rng(0).normal(0, 3000, size + count * 100).astype(np.int16)
    first = 1 + backend.left_context // SAMPLES_PER_FRAME
    return [
        FrameJob(
            *(stream, 0, frame, 0.0, persona, noise[100 * stream :][:size]), frame=first + frame
        )
        for stream in range(count)
    ]


def bench(config: EngineConfig, seconds: float) -> Report:
    """Measure one decoder. Prints nothing.

    Args:
        seconds: of each sustained measurement.
    """
    backend = TorchBackend(config)
    begun = time.perf_counter()
    backend.start()
    start_s = time.perf_counter() - begun
    device = backend.device
    load = (config.models_dir, config.version, config.decoder)
    with torch.inference_mode():
        pipeline = load_pipeline(*load, backend.dtype, device)
        batch = min(SUSTAINED_BATCH, backend.rungs[-1])
        fps, took = _sustained(backend, batch, seconds)
        roof = gemm_tflops(device, min(seconds, 6.0))
        rows = [_row(backend, pipeline, size) for size in backend.rungs]
        del pipeline
        reference = load_reference(*load, backend.dtype, device)
        loop, graph = _eager(reference, device, backend.dtype, batch, seconds)
        del reference
        gates = list(gates_of(config, backend))
        burst = gemm_tflops(device, 0.2)
    backend.stop()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return Report(name, config.decoder, rows, gates, start_s, fps, took, burst, roof, loop, graph)


def _inputs(batch: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Tokens and latents, of a fixed seed."""
    source = torch.Generator().manual_seed(batch)
    tokens = torch.randn(batch, TOKENS, 384, generator=source).to(device, dtype)
    latents = torch.randn(batch, *SHAPE, generator=source).to(device, dtype)
    return tokens, latents.contiguous(memory_format=torch.channels_last)


def _row(backend: TorchBackend, pipeline: Pipeline, size: int) -> Row:
    device, dtype = backend.device, backend.dtype
    tokens, latents = _inputs(size, device, dtype)
    bad = torch.zeros(size, dtype=torch.int32, device=device)
    face = pipeline.unet(latents, tokens)
    inputs = backend.static_inputs(size)
    parts = (
        lambda: pipeline.listen(inputs.log, inputs.floor, inputs.index, inputs.valid),
        lambda: pipeline.unet(latents, tokens),
        lambda: pipeline.decoder(face, bad),
    )
    listen, unet, decoder = (milliseconds(graphed(part, device), device) for part in parts)
    jobs = jobs_of(backend, size, 0)
    whole = milliseconds(lambda: backend.run(jobs), device)
    networks = listen + unet + decoder
    memory = torch.cuda.memory_reserved() / MIB if device.type == "cuda" else 0.0
    return Row(size, listen, unet, decoder, whole, whole - networks, 1e3 * size / networks, memory)


def _sustained(backend: TorchBackend, batch: int, seconds: float) -> tuple[float, float]:
    """Pictures a second with two batches under way, and for how long that was seen."""
    waiting = None
    turns, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        started = backend.submit(jobs_of(backend, batch, turns))
        if waiting is not None:
            backend.collect(waiting)
        waiting = started
        turns += 1
    if waiting is not None:
        backend.collect(waiting)
    took = time.perf_counter() - begun
    return turns * batch / took, took


def _eager(
    reference: Reference, device: torch.device, dtype: torch.dtype, batch: int, seconds: float
) -> tuple[float, float]:
    """Pictures a second of the reference's loop, and of its modules in a graph."""
    size = BATCH if device.type == "cuda" else batch
    turn = reference.loop(*_inputs(size, device, dtype))
    turn()
    loop = size * sustained(turn, device, seconds)
    inputs = _inputs(batch, device, dtype)
    graph = graphed(lambda: reference.planes(*inputs), device)
    synchronise(device)
    return loop, 1e3 * batch / milliseconds(graph, device)


def gates_of(config: EngineConfig, backend: TorchBackend) -> Iterator[Gate]:
    """Every batch size of a started engine, from its sound to its pictures."""
    device = backend.device
    load = (config.models_dir, config.version, config.decoder)
    exact = load_reference(*load, torch.float32, device)
    encoder = networks.load(config.models_dir, "whisper", torch.float32, device)
    positions = torch.from_numpy(positional_table(TOKENS)).to(device)
    for batch in backend.rungs:
        jobs = jobs_of(backend, batch, 0)
        seen = backend.run(jobs).copy()
        inputs = backend.static_inputs(batch)
        # Single precision that the matrix units round to 10 bits is none.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            pieces = [
                _expected(exact, encoder, positions, inputs.slice(start, start + GATE_PIECE))
                for start in range(0, batch, GATE_PIECE)
            ]
        error = np.abs(seen.astype(int) - np.concatenate(pieces))
        power = float((error.astype(float) ** 2).mean())
        psnr = 10 * np.log10(255**2 / power) if power else np.inf
        yield Gate(batch, int(error.max()), float(error.mean()), float(psnr))


def _expected(exact: Reference, encoder: Any, positions: Tensor, inputs: Inputs) -> Faces:
    mel = ((torch.maximum(inputs.log, inputs.floor[:, None, None]) + 4) / 4).transpose(1, 2)
    states = whisper.encode(encoder, mel.contiguous())
    tokens = whisper.tokens(states, inputs.index, inputs.valid, positions)
    return to_faces(exact.planes(tokens, inputs.latents.float()).cpu().numpy())


def table(report: Report) -> str:
    """The report as text."""
    lines = [
        f"{report.device}, decoder {report.decoder}; random weights say nothing about quality",
        columns(
            ["batch", "listen", "unet", "decode", "post", "run ms", "fps", "MiB"],
            [
                [
                    str(r.batch),
                    *(f"{ms:.2f}" for ms in (r.listen_ms, r.unet_ms, r.decoder_ms)),
                    *(f"{ms:.2f}" for ms in (r.post_ms, r.run_ms)),
                    f"{r.fps:.0f}",
                    f"{r.memory_mib:.0f}",
                ]
                for r in report.rows
            ],
        ),
    ]
    lines += [
        f"against single precision, batch {g.batch}: worst {g.worst_level} levels,"
        f" mean {g.mean_level:.3f}, PSNR {g.psnr_db:.1f} dB"
        for g in report.gates
    ]
    lines += [
        f"start {report.start_s:.1f} s",
        f"sustained {report.sustained_fps:.0f} fps over {report.sustained_s:.1f} s",
        f"the reference's loop {report.eager_loop_fps:.0f} fps, its modules in a graph"
        f" {report.eager_graph_fps:.0f} fps",
        f"fp16 GEMM {report.roof_tflops:.0f} TFLOP/s sustained,"
        f" {report.roof_burst_tflops:.0f} in a burst",
    ]
    return "\n".join(lines)


def as_json(reports: list[Report]) -> str:
    return json.dumps([asdict(report) for report in reports], indent=1)
