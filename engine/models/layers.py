"""Blocks shared by the UNet and the decoder, reading the weights of diffusers' own modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.ops import Norm, Ops, Sum
from engine.models.phases import phase_weight


def _packed(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)


def rows_of(image: Tensor) -> Tensor:
    """(batch * height * width, channels) of a channels-last map, without a copy."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def image_of(rows: Tensor, like: Tensor) -> Tensor:
    """Rows as a channels-last map with the batch and the size of another."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def norm_of(module: Any, *, silu: bool = True) -> Norm:
    return Norm(module.weight, module.bias, module.num_groups, module.eps, silu)


class Conv:
    """A convolution whose bias is added by whoever reads its output."""

    def __init__(self, module: Any) -> None:
        self._weight = _packed(module.weight)
        self._stride = module.stride
        self._padding = module.padding
        self.bias: Tensor = module.bias

    def __call__(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self._weight, None, self._stride, self._padding)


class Upsample:
    """Nearest-neighbour doubling and its convolution, as four phases."""

    def __init__(self, conv: Any) -> None:
        self._weight = _packed(phase_weight(conv.weight))
        self._bias: Tensor | None = conv.bias

    def __call__(self, image: Tensor) -> Sum:
        return Sum(functional.conv2d(image, self._weight, None, padding=1), self._bias, phased=True)


class Resnet:
    """Norm, SiLU, convolution, twice, beside a shortcut. A constant time step is in its biases."""

    def __init__(self, ops: Ops, block: Any, time: Tensor | None = None) -> None:
        self._ops = ops
        self._norms = norm_of(block.norm1), norm_of(block.norm2)
        self._convs = Conv(block.conv1), Conv(block.conv2)
        self._first_bias = self._convs[0].bias
        if time is not None:
            self._first_bias = self._first_bias + block.time_emb_proj(functional.silu(time))[0]
        self._last_bias = self._convs[1].bias
        self._shortcut: Tensor | None = None
        if block.conv_shortcut is not None:
            self._shortcut = block.conv_shortcut.weight.flatten(1).t().contiguous()
            self._last_bias = self._last_bias + block.conv_shortcut.bias

    def __call__(self, pending: Sum) -> tuple[Tensor, Sum]:
        """Returns the settled input too, since the UNet's way up reads it."""
        image, normed = self._ops.settle_norm(pending, self._norms[0])
        inner = self._ops.norm(Sum(self._convs[0](normed), self._first_bias), self._norms[1])
        out = self._convs[1](inner)
        if self._shortcut is None:
            return image, Sum(out, self._last_bias, image)
        rows_of(out).addmm_(rows_of(image), self._shortcut)
        return image, Sum(out, self._last_bias)


class Attention:
    """The decoder's only attention: one head over all pixels."""

    def __init__(self, ops: Ops, block: Any) -> None:
        self._ops = ops
        self._norm = norm_of(block.group_norm, silu=False)
        assert block.heads == 1
        parts = block.to_q, block.to_k, block.to_v
        self._in = torch.cat([part.weight for part in parts])
        self._in_bias = torch.cat([part.bias for part in parts])
        self._out = block.to_out[0]

    def __call__(self, pending: Sum) -> Sum:
        image, normed = self._ops.settle_norm(pending, self._norm)
        batch = image.shape[0]
        mixed = functional.linear(rows_of(normed), self._in, self._in_bias)
        query, key, value = mixed.view(batch, -1, 3, image.shape[1]).unbind(2)
        # PyTorch's fused attention has no kernel of this GPU's for a head this wide, and took 0.27
        # of the decoder's 17.5 ms at batch 16 (an H200).
        scores = (query * image.shape[1] ** -0.5) @ key.transpose(1, 2)
        rows = (scores.softmax(-1) @ value).reshape(-1, image.shape[1])
        out = functional.linear(rows, self._out.weight)
        return Sum(image_of(out, image), self._out.bias, image)
