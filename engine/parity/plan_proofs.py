"""TensorRT plans against the published modules in single precision, on the GPU that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from engine.audio.features import Hearing
from engine.backends.plan_networks import PlanNetworks
from engine.backends.torch_rung import new_inputs
from engine.core.engine_errors import EngineError
from engine.core.types import Faces
from engine.prepare.export_onnx import Reference, painted, sample_inputs

WORST_LEVELS = 4
LEAST_PSNR_DB = 50.0


class BadPlan(EngineError):
    """A plan does not paint what the networks do."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Plans against PyTorch at a batch size."""

    batch: int
    worst_level: int
    psnr_db: float  # of all faces of the batch; infinite where they are equal
    broken: int  # values that are not finite

    @property
    def good(self) -> bool:
        fits = self.worst_level <= WORST_LEVELS and self.psnr_db >= LEAST_PSNR_DB
        return fits and not self.broken

    def __str__(self) -> str:
        return f"batch {self.batch}: worst {self.worst_level} levels, PSNR {self.psnr_db:.1f} dB"


def prove(
    networks: PlanNetworks, exact: Reference, hearing: Hearing, batches: tuple[int, ...]
) -> Iterator[Proof]:
    """Run random inputs through the plans, as the backend does, and through the reference.

    Raises BadPlan at the first batch size that differs by more than half precision explains.
    """
    device = exact.sound.positions.device
    mel, index, valid, latents = sample_inputs(max(batches), hearing, torch.float16)
    expected = painted(exact, (mel, index, valid, latents))
    inputs = new_inputs(max(batches), hearing.rows, torch.float16, device, pin=False)
    # As the encoder's scaling turns it into `mel`: (log + 4) / 4.
    inputs.log.copy_(mel.transpose(1, 2).float() * 4 - 4)
    inputs.floor.fill_(-100.0)
    inputs.index.copy_(index)
    inputs.valid.copy_(valid.bool())
    inputs.latents.copy_(latents)
    for batch in batches:
        with torch.inference_mode():
            outputs = networks(inputs.first(batch))
        faces, broken = outputs.faces.cpu().numpy(), int(outputs.bad.sum())
        proof = proof_of(faces, expected[:batch], broken)
        if not proof.good:
            raise BadPlan(
                f"The plans are refused. {proof} against PyTorch in single precision, where "
                f"{WORST_LEVELS} levels and {LEAST_PSNR_DB:g} dB are allowed"
                + (f"; {broken} values are not finite." if broken else ".")
            )
        yield proof


def proof_of(seen: Faces, expected: Faces, broken: int = 0) -> Proof:
    error = np.abs(seen.astype(int) - expected)
    mean_square = float(np.mean(np.square(error)))
    psnr = 10 * np.log10(255**2 / mean_square) if mean_square else np.inf
    return Proof(len(seen), int(error.max()), float(psnr), broken)
