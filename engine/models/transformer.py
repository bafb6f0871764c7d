"""A transformer of the UNet: self-attention, listening to the sound, and a gated feed-forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.layers import image_of, norm_of, rows_of
from engine.models.ops import Ops, Sum


class Transformer:
    """One published Transformer2DModel with a single block.

    Biases that would be added to the running sum are constants, so their sum is carried beside it
    (`_offsets`) and added where the sum is read.
    """

    def __init__(self, ops: Ops, module: Any) -> None:
        (block,) = module.transformer_blocks
        self._ops = ops
        self._block = block
        self._norm = norm_of(module.norm, silu=False)
        self._in = module.proj_in.weight.flatten(1)
        self._out = module.proj_out.weight.flatten(1)
        self._heads = block.attn1.heads
        first = block.attn1
        self._self = torch.cat([first.to_q.weight, first.to_k.weight, first.to_v.weight])
        self._query = block.attn2.to_q.weight
        self.sound = torch.cat([block.attn2.to_k.weight, block.attn2.to_v.weight])
        self._joins = [
            linear.weight.t().contiguous()
            for linear in (first.to_out[0], block.attn2.to_out[0], block.ff.net[2])
        ]
        steps = [
            module.proj_in.bias,
            first.to_out[0].bias,
            block.attn2.to_out[0].bias,
            block.ff.net[2].bias,
        ]
        # Summed in double precision: these are constants, and cost nothing to get right.
        sums = [sum(steps[: k + 1], torch.zeros_like(steps[0]).double()) for k in range(4)]
        self._offsets = [total.to(steps[0].dtype) for total in sums]
        end = module.proj_out.bias.double() + self._out.double() @ sums[3]
        self._bias = end.to(steps[0].dtype)

    def __call__(self, pending: Sum, sound: Tensor) -> Sum:
        """`sound` (batch, 50, 2 * channels): keys and values that `sound`'s weights made."""
        image, normed = self._ops.settle_norm(pending, self._norm)
        batch = image.shape[0]
        rows = functional.linear(rows_of(normed), self._in)
        mixed = functional.linear(self._read(rows, 0, self._block.norm1), self._self)
        query, key, value = mixed.view(batch, -1, 3, self._heads, self._depth).unbind(2)
        rows.addmm_(attend(query, key, value), self._joins[0])
        asked = functional.linear(self._read(rows, 1, self._block.norm2), self._query)
        key, value = sound.view(batch, -1, 2, self._heads, self._depth).unbind(2)
        query = asked.view(batch, -1, self._heads, self._depth)
        rows.addmm_(attend(query, key, value), self._joins[1])
        gate = self._block.ff.net[0].proj
        wide = functional.linear(self._read(rows, 2, self._block.norm3), gate.weight, gate.bias)
        rows.addmm_(self._ops.geglu(wide), self._joins[2])
        return Sum(image_of(functional.linear(rows, self._out), image), self._bias, image)

    @property
    def _depth(self) -> int:
        return int(self._query.shape[0]) // int(self._heads)

    def _read(self, rows: Tensor, step: int, norm: Any) -> Tensor:
        return self._ops.layer_norm(rows, self._offsets[step], norm.weight, norm.bias, norm.eps)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Rows (batch * n, channels) of queries (batch, n, heads, depth) over m keys and values."""
    seen = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    )
    return seen.transpose(1, 2).reshape(-1, query.shape[2] * query.shape[3])
