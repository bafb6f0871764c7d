"""The networks in a row as one ONNX file, in half precision and with a batch of any size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.features import Hearing
from engine.latents import SHAPE
from engine.models import networks, whisper
from engine.models.pipeline import TOKENS
from engine.musetalk.image import SCALING_FACTOR
from engine.musetalk.mel import BANDS
from engine.musetalk.positional import positional_table
from engine.musetalk.windows import window_length
from engine.types import Faces

CHECKED_BATCHES = (1, 2, 7, 25, 50)
WORST_LEVELS, MEAN_LEVELS = 4, 0.5
"""Between the file and PyTorch: half precision alone moves two or three levels (h200.md §1)."""

REFERENCE_BATCH = 5

INPUTS = ("mel", "index", "valid", "latents")
OUTPUTS = ("faces", "broken")
OPSET = 20


class BadExport(EngineError):
    """The exported file does not compute what the networks do."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The exported file against PyTorch, at a batch size."""

    batch: int
    worst_level: int
    mean_level: float


class Painter(nn.Module):  # type: ignore[misc]  # the libraries are Any to the type check
    """Published modules from log-mel to uint8 pictures; inputs as in `engine.features.Heard`."""

    def __init__(self, encoder: Any, unet: Any, vae: Any, scale: float) -> None:
        super().__init__()
        self.encoder, self.unet, self.vae = encoder, unet, vae
        self._scale = scale
        table = torch.from_numpy(positional_table(TOKENS)).to(unet.dtype)
        self.register_buffer("positions", table)

    def forward(
        self, mel: Tensor, index: Tensor, valid: Tensor, latents: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Faces (batch, 256, 256, 3) uint8 BGR, and how many of their values were not finite."""
        states = whisper.encode(self.encoder, mel)
        heard = whisper.tokens(states, index, valid, self.positions)
        step = torch.zeros(1, dtype=torch.int64)
        face = self.unet(latents, step, encoder_hidden_states=heard).sample
        planes = self.vae.decode(face / self._scale).sample.float()
        # Of the latents, too: a decoder that squashes its input makes a picture of infinity.
        broken = _not_finite(planes) + _not_finite(face)
        unit = (planes * 0.5 + 0.5).clamp(0, 1)
        levels = (unit * 255).round().permute(0, 2, 3, 1).flip(3)
        # The cast comes last: TensorRT knows uint8 only where a network ends.
        return levels.to(torch.uint8), broken.to(torch.int32)


def _not_finite(values: Tensor) -> Tensor:
    """(batch,) how many; written with operators that TensorRT knows."""
    return (values.isnan() | values.isinf()).to(torch.int32).sum(dim=(1, 2, 3))


def load_painter(
    models: Path, version: str, decoder: str, precision: Literal["float16", "float32"]
) -> Painter:
    """On the CPU. Raises BackendUnavailable when weights are missing or damaged."""
    cpu, dtype = torch.device("cpu"), getattr(torch, precision)
    painter: Painter = Painter(
        networks.load(models, "whisper", dtype, cpu),
        networks.load(models, f"unet-{version}", dtype, cpu),
        networks.load(models, decoder, dtype, cpu),
        SCALING_FACTOR if decoder == "kl" else 1.0,
    )
    painter.eval()
    return painter


def sample_inputs(batch: int, hearing: Hearing, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Random inputs of a batch, in the order of INPUTS."""
    source = torch.Generator().manual_seed(batch)
    mel = torch.randn(batch, BANDS, hearing.rows, generator=source).clamp(-1.5, 1.5)
    first = torch.randint(0, hearing.span - window_length(), (batch, 1), generator=source)
    valid = torch.ones(batch, window_length())
    valid[0, :4] = 0
    latents = torch.randn(batch, *SHAPE, generator=source)
    return mel.to(dtype), first + torch.arange(window_length()), valid.to(dtype), latents.to(dtype)


def export(painter: Painter, hearing: Hearing, path: Path) -> None:
    """Write the ONNX file; weights of more than 2 GiB go beside it."""
    batch = torch.export.Dim.DYNAMIC
    path.parent.mkdir(parents=True, exist_ok=True)
    # The exporter talks about its own opset conversions, deprecations and optional libraries.
    for chatty in ("onnxscript", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            painter,
            sample_inputs(2, hearing, painter.unet.dtype),
            path,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes={name: {0: batch} for name in INPUTS},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )


def check(
    path: Path, exact: Painter, hearing: Hearing, batches: tuple[int, ...]
) -> Iterator[Agreement]:
    """Compare the file in onnxruntime with single-precision PyTorch.

    Raises:
        BadExport: they differ by more than half precision explains.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = sample_inputs(max(batches), hearing, torch.float16)
    expected = _painted(exact, inputs)
    for batch in batches:
        feeds = {name: each[:batch].numpy() for name, each in zip(INPUTS, inputs, strict=True)}
        seen, broken = session.run(list(OUTPUTS), feeds)
        error = np.abs(seen.astype(int) - expected[:batch])
        agreement = Agreement(batch, int(error.max()), float(error.mean()))
        too_far = agreement.worst_level > WORST_LEVELS or agreement.mean_level > MEAN_LEVELS
        if too_far or broken.any():
            raise BadExport(
                f"{path} differs from PyTorch at batch {batch}: by up to {agreement.worst_level} "
                f"levels, {agreement.mean_level:.2f} on average. Run `voipavatar models verify`."
            )
        yield agreement


def _painted(exact: Painter, inputs: tuple[Tensor, ...]) -> Faces:
    """PyTorch's faces, a few at a time: single precision takes much memory."""
    single = [each.float() if each.is_floating_point() else each for each in inputs]
    with torch.inference_mode():
        parts = zip(*(each.split(REFERENCE_BATCH) for each in single), strict=True)
        return np.concatenate([exact(*part)[0].numpy() for part in parts])
