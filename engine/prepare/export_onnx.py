"""The networks as ONNX files in half precision, for batches of any size: sound, UNet, decoder.

What is exported is what serves in PyTorch: the rewritten networks, on operators that TensorRT
runs as they stand (`engine.models.export_ops`). Three files, so that a change rebuilds one plan.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from engine.audio.features import Hearing
from engine.core.engine_errors import EngineError
from engine.core.types import Faces
from engine.models import networks, whisper
from engine.models.decoder import fast_decoder
from engine.models.export_ops import ExportOps, bgr_last, not_finite
from engine.models.pipeline import TOKENS
from engine.models.unet import FastUNet
from engine.musetalk.image import SCALING_FACTOR
from engine.musetalk.mel import BANDS
from engine.musetalk.positional import positional_table
from engine.musetalk.windows import STATES, window_length
from engine.picture.latents import SHAPE

CHECKED_BATCHES = (1, 2, 7, 25, 50)
WORST_LEVELS, MEAN_LEVELS = 4, 0.5
"""Between a file and PyTorch: half precision alone moves two or three levels (h200.md §1)."""

REFERENCE_BATCH = 5
OPSET = 20
"""With 21, a group norm stays one operator, which TensorRT 10.6 rejects: its scale is too long."""

WIDTH = 384  # of a token


@dataclass(frozen=True, slots=True)
class Part:
    """One of the files: what goes in and what comes out, by name, each with a batch first."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


PARTS = {
    "sound": Part(("mel", "index", "valid"), ("heard",)),
    "unet": Part(("latents", "heard"), ("face",)),
    "decoder": Part(("face",), ("faces", "broken")),
}
INPUTS = ("mel", "index", "valid", "latents")

PROVEN = frozenset(
    {
        *("Add", "Cast", "Clip", "Concat", "Conv", "Expand", "GatherND", "Gelu", "Gemm"),
        *("InstanceNormalization", "IsInf", "IsNaN", "LayerNormalization", "MatMul", "Max", "Mul"),
        *("Or", "Range", "ReduceSum", "Reshape", "Round", "Shape", "Sigmoid", "Slice", "Softmax"),
        *("Split", "Squeeze", "Transpose", "Unsqueeze"),
        *("Div", "Relu", "Tanh"),  # of the tiny decoder: compiled, but not run yet
    }
)
"""Operators that plans have run, with TensorRT 10.6 on an H200."""


class BadExport(EngineError):
    """The exported file does not compute what the networks do."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Exported or compiled networks against PyTorch, at a batch size."""

    batch: int
    worst_level: int
    mean_level: float

    @property
    def good(self) -> bool:
        return self.worst_level <= WORST_LEVELS and self.mean_level <= MEAN_LEVELS


class Sound(nn.Module):  # type: ignore[misc]  # the libraries are Any to the type check
    """From log-mel to what the UNet hears; inputs as in `engine.audio.features.Heard`."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        table = torch.from_numpy(positional_table(TOKENS)).to(encoder.conv1.weight.dtype)
        self.register_buffer("positions", table)

    def forward(self, mel: Tensor, index: Tensor, valid: Tensor) -> Tensor:
        """(batch, 50, 384)."""
        states = whisper.encode(self.encoder, mel)
        return whisper.tokens(states, index, valid, self.positions)


class Unet(nn.Module):  # type: ignore[misc]
    """The rewritten UNet: masked and whole latents, and sound, to the face's latents."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self._fast = FastUNet(ExportOps(), unet)

    def forward(self, latents: Tensor, heard: Tensor) -> Tensor:
        """(batch, 4, 32, 32)."""
        return self._fast(latents, heard)


class Decode(nn.Module):  # type: ignore[misc]
    """The rewritten decoder, whose last convolution gives BGR."""

    def __init__(self, kind: str, vae: Any) -> None:
        super().__init__()
        bgr_last(kind, vae)
        self._ops = ExportOps()
        self._fast = fast_decoder(self._ops, kind, vae)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """Faces (batch, 256, 256, 3) uint8 BGR, and how many of their values were not finite."""
        faces = self._fast(face, face)
        # Of the latents, too: a decoder that squashes its input makes a picture of infinity.
        return faces, self._ops.broken + not_finite(face)


class Reference(nn.Module):  # type: ignore[misc]
    """The published modules from log-mel to pictures, in the inputs of all parts."""

    def __init__(self, encoder: Any, unet: Any, vae: Any, scale: float) -> None:
        super().__init__()
        self.sound, self.unet, self.vae = Sound(encoder), unet, vae
        self._scale = scale

    def forward(
        self, mel: Tensor, index: Tensor, valid: Tensor, latents: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Decode.forward`."""
        heard = self.sound(mel, index, valid)
        step = torch.zeros(1, dtype=torch.int64, device=latents.device)
        face = self.unet(latents, step, encoder_hidden_states=heard).sample
        planes = self.vae.decode(face / self._scale).sample.float()
        levels = ((planes * 0.5 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).flip(3)
        return levels.to(torch.uint8), not_finite(planes) + not_finite(face)


def load_reference(
    models: Path,
    version: str,
    decoder: str,
    precision: Literal["float16", "float32"] = "float32",
    device: str = "cpu",
) -> Reference:
    """Raises BackendUnavailable when weights are missing or damaged."""
    where, dtype = torch.device(device), getattr(torch, precision)
    reference: Reference = Reference(
        networks.load(models, "whisper", dtype, where),
        networks.load(models, f"unet-{version}", dtype, where),
        networks.load(models, decoder, dtype, where),
        SCALING_FACTOR if decoder == "kl" else 1.0,
    )
    reference.eval().to(where)
    return reference


def load_part(part: str, models: Path, version: str, decoder: str) -> nn.Module:
    """In half precision on the CPU. Raises BackendUnavailable as `load_reference`."""
    cpu, half = torch.device("cpu"), torch.float16
    if part == "sound":
        return Sound(networks.load(models, "whisper", half, cpu)).eval()
    if part == "unet":
        return Unet(networks.load(models, f"unet-{version}", half, cpu)).eval()
    return Decode(decoder, networks.load(models, decoder, half, cpu)).eval()


def sample_inputs(batch: int, hearing: Hearing, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Random inputs of a batch, in the order of INPUTS."""
    source = torch.Generator().manual_seed(batch)
    mel = torch.randn(batch, BANDS, hearing.rows, generator=source).clamp(-1.5, 1.5)
    first = torch.randint(0, hearing.span - window_length(), (batch, 1), generator=source)
    valid = torch.ones(batch, window_length())
    valid[0, :4] = 0
    latents = torch.randn(batch, *SHAPE, generator=source)
    return mel.to(dtype), first + torch.arange(window_length()), valid.to(dtype), latents.to(dtype)


def export(part: str, module: nn.Module, hearing: Hearing, path: Path) -> None:
    """Write the ONNX file of a part; weights of more than 2 GiB go beside it.

    Raises BadExport where it has operators that no plan has run yet.
    """
    batch = torch.export.Dim.DYNAMIC
    path.parent.mkdir(parents=True, exist_ok=True)
    # The exporter talks about its own opset conversions, deprecations and optional libraries.
    for chatty in ("onnxscript", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    names = PARTS[part].inputs
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            _example(part, hearing),
            path,
            input_names=names,
            output_names=PARTS[part].outputs,
            dynamic_shapes=tuple({0: batch} for _ in names),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    require_proven(path)


def _example(part: str, hearing: Hearing) -> tuple[Tensor, ...]:
    inputs = dict(zip(INPUTS, sample_inputs(2, hearing, torch.float16), strict=True))
    inputs["heard"] = torch.randn(2, STATES * window_length(), WIDTH).half()
    inputs["face"] = torch.randn(2, 4, *SHAPE[1:]).half()
    return tuple(inputs[name] for name in PARTS[part].inputs)


def require_proven(path: Path) -> None:
    """Raises BadExport for operators outside `PROVEN`, and for slices that go backwards."""
    graph = onnx.load(path, load_external_data=False).graph
    unknown = Counter(node.op_type for node in graph.node if node.op_type not in PROVEN)
    if unknown:
        found = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
        raise BadExport(f"{path} has operators that no TensorRT plan has run yet: {found}.")
    constants = {each.name: each for each in graph.initializer}
    for node in graph.node:
        steps = node.input[4] if node.op_type == "Slice" and len(node.input) > 4 else ""
        if steps and (onnx.numpy_helper.to_array(constants[steps]) < 1).any():
            raise BadExport(f"{path} reverses an axis ({node.name}), which TensorRT 10.6 drops.")


def run_onnx(folder: Path, feeds: dict[str, Any]) -> tuple[Faces, Any]:
    """The three files in a row in onnxruntime: faces, and what was not finite."""
    known = dict(feeds)
    for part, names in PARTS.items():
        path = folder / f"{part}.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        given = {name: known[name] for name in names.inputs}
        known.update(zip(names.outputs, session.run(list(names.outputs), given), strict=True))
    return known["faces"], known["broken"]


def check(
    folder: Path, exact: Reference, hearing: Hearing, batches: tuple[int, ...]
) -> Iterator[Agreement]:
    """Compare the files in onnxruntime with single-precision PyTorch.

    Raises:
        BadExport: they differ by more than half precision explains.
    """
    inputs = sample_inputs(max(batches), hearing, torch.float16)
    expected = painted(exact, inputs)
    for batch in batches:
        feeds = {name: each[:batch].numpy() for name, each in zip(INPUTS, inputs, strict=True)}
        seen, broken = run_onnx(folder, feeds)
        agreement = agreement_of(seen, expected[:batch])
        if not agreement.good or broken.any():
            raise BadExport(
                f"{folder} differs from PyTorch at batch {batch}: by up to {agreement.worst_level} "
                f"levels, {agreement.mean_level:.2f} on average. Run `voipavatar models verify`."
            )
        yield agreement


def agreement_of(seen: Faces, expected: Faces) -> Agreement:
    error = np.abs(seen.astype(int) - expected)
    return Agreement(len(seen), int(error.max()), float(error.mean()))


def painted(exact: Reference, inputs: tuple[Tensor, ...]) -> Faces:
    """PyTorch's faces, a few at a time: single precision takes much memory."""
    where = exact.sound.positions.device
    single = [(each.float() if each.is_floating_point() else each).to(where) for each in inputs]
    with torch.inference_mode():
        parts = zip(*(each.split(REFERENCE_BATCH) for each in single), strict=True)
        return np.concatenate([exact(*part)[0].cpu().numpy() for part in parts])
