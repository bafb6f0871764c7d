"""The UNet at its only time step, 0, rewritten: same weights, same result, less work.

The time embedding is a constant in the resnets' biases, the keys and values of all attentions to
the sound are one product, doubling and convolution are phases, norms take the sums with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.layers import Conv, Resnet, Upsample, norm_of
from engine.models.ops import Ops, Sum
from engine.models.transformer import Transformer


def _time(unet: Any) -> Tensor:
    """(1, 1280) the embedding of time step 0."""
    weight = unet.conv_in.weight
    steps = unet.time_proj(torch.zeros(1, dtype=torch.int64, device=weight.device))
    embedding: Tensor = unet.time_embedding(steps.to(weight.dtype))
    return embedding


class _Level:
    """Resnets, each with its transformer where the level has them, and the change of size after."""

    def __init__(self, ops: Ops, block: Any, time: Tensor) -> None:
        self.resnets = [Resnet(ops, resnet, time) for resnet in block.resnets]
        attentions = getattr(block, "attentions", None) or [None] * len(self.resnets)
        self.transformers = [module and Transformer(ops, module) for module in attentions]
        down = getattr(block, "downsamplers", None)
        self.down = Conv(down[0].conv) if down else None
        up = getattr(block, "upsamplers", None)
        self.up = Upsample(up[0].conv) if up else None


class FastUNet:
    """Latents and sound to the latents of the generated face."""

    def __init__(self, ops: Ops, unet: Any) -> None:
        time = _time(unet)
        self._ops = ops
        self._first = Conv(unet.conv_in)
        self._down = [_Level(ops, block, time) for block in unet.down_blocks]
        self._middle = _Level(ops, unet.mid_block, time)
        self._up = [_Level(ops, block, time) for block in unet.up_blocks]
        self._last_norm = norm_of(unet.conv_norm_out)
        self._last = Conv(unet.conv_out)
        levels = [*self._down, self._middle, *self._up]
        listening = [each for level in levels for each in level.transformers if each]
        self._sound = torch.cat([transformer.sound for transformer in listening])
        self._widths = [len(transformer.sound) for transformer in listening]

    def __call__(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """The face's latents (batch, 4, 32, 32), still scaled by 0.18215.

        Args:
            latents: (batch, 8, 32, 32) channels-last, masked then whole.
            tokens: (batch, 50, 384) with their places.
        """
        sounds = iter(functional.linear(tokens, self._sound).split(self._widths, dim=-1))
        pending, skips = self._go_down(Sum(self._first(latents), self._first.bias), sounds)
        image, pending = self._middle.resnets[0](pending)
        skips.append(image)
        for resnet, transformer in zip(
            self._middle.resnets[1:], self._middle.transformers, strict=True
        ):
            pending = resnet(transformer(pending, next(sounds)))[1]
        pending = self._go_up(pending, skips, sounds)
        return self._last(self._ops.norm(pending, self._last_norm)) + self._last.bias[:, None, None]

    def _go_down(self, pending: Sum, sounds: Any) -> tuple[Sum, list[Tensor]]:
        skips: list[Tensor] = []
        for level in self._down:
            for resnet, transformer in zip(level.resnets, level.transformers, strict=True):
                image, pending = resnet(pending)
                skips.append(image)
                if transformer:
                    pending = transformer(pending, next(sounds))
            if level.down:
                image = self._ops.settle(pending)
                skips.append(image)
                pending = Sum(level.down(image), level.down.bias)
        return pending, skips

    def _go_up(self, pending: Sum, skips: list[Tensor], sounds: Any) -> Sum:
        for level in self._up:
            for resnet, transformer in zip(level.resnets, level.transformers, strict=True):
                joined = Sum(pending.x, pending.bias, pending.residual, skips.pop(), pending.phased)
                pending = resnet(joined)[1]
                if transformer:
                    pending = transformer(pending, next(sounds))
            if level.up:
                pending = level.up(self._ops.settle(pending))
        return pending
