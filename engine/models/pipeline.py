"""From sound and a persona's latents to pictures of faces: the networks in a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.models import networks, whisper
from engine.models.decoder import Decoder, fast_decoder
from engine.models.hearing import FastEncoder
from engine.models.ops import best_ops
from engine.models.unet import FastUNet
from engine.musetalk.positional import positional_table
from engine.musetalk.windows import STATES, window_length

TOKENS = STATES * window_length()  # 50


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything of one type on one device."""

    encoder: Any  # FastEncoder; none where nothing listens
    positions: Tensor  # (50, 384)
    unet: FastUNet
    decoder: Decoder

    def listen(self, log: Tensor, floor: Tensor, index: Tensor, valid: Tensor) -> Tensor:
        """(batch, 50, 384) what the UNet hears; shapes as in `engine.audio.features.Heard`."""
        return whisper.placed(self.encoder(log, floor, index), valid, self.positions)

    def paint(self, tokens: Tensor, latents: Tensor, bad: Tensor) -> Tensor:
        """Pictures (batch, 256, 256, 3) uint8 BGR.

        Args:
            latents: (batch, 8, 32, 32) channels-last.
            bad: (batch,) int32, set to 1 where a picture is not made of finite numbers.
        """
        face = self.unet(latents, tokens)
        bad |= (~face.isfinite()).flatten(1).any(dim=1)
        return self.decoder(face, bad)


def load_pipeline(
    models: Path, version: str, decoder: str, dtype: torch.dtype, device: torch.device
) -> Pipeline:
    """Raises BackendUnavailable when weights are missing, damaged or do not fit."""
    ops = best_ops(device)
    return Pipeline(
        encoder=FastEncoder(ops, networks.load(models, "whisper", dtype, device)),
        positions=torch.from_numpy(positional_table(TOKENS)).to(device, dtype),
        unet=FastUNet(ops, networks.load(models, f"unet-{version}", dtype, device)),
        decoder=fast_decoder(ops, decoder, networks.load(models, decoder, dtype, device)),
    )
