"""The published modules, as the reference runs them: what the engine is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.types import Faces
from engine.models import networks
from engine.musetalk.image import SCALING_FACTOR

BATCH = 20
"""Of the reference's real-time script (musetalk.md §4)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Diffusers' own modules, untouched."""

    unet: Any
    vae: Any
    scale: float  # latents are divided by it before they are decoded

    def planes(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """(batch, 3, 256, 256) RGB in -1 … 1."""
        step = torch.zeros(1, dtype=torch.int64, device=tokens.device)
        face = self.unet(latents, step, encoder_hidden_states=tokens).sample
        planes: Tensor = self.vae.decode(face / self.scale).sample
        return planes

    def loop(self, tokens: Tensor, latents: Tensor) -> Callable[[], Faces]:
        """One turn of the reference's loop: float pictures to the host, converted there."""

        def turn() -> Faces:
            unit = (self.planes(tokens, latents) / 2 + 0.5).clamp(0, 1)
            image = unit.cpu().permute(0, 2, 3, 1).float().numpy()
            levels = (image * 255).round().astype(np.uint8)
            return np.ascontiguousarray(levels[..., ::-1])

        return turn


def load_reference(
    models: Path, version: str, decoder: str, dtype: torch.dtype, device: torch.device
) -> Reference:
    return Reference(
        networks.load(models, f"unet-{version}", dtype, device),
        networks.load(models, decoder, dtype, device),
        SCALING_FACTOR if decoder == "kl" else 1.0,
    )
