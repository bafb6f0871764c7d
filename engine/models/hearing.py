"""Whisper's encoder rewritten: same weights, same result, and only what pictures hear of it.

Log-mel rows come as they are kept, channels last, which is what the convolutions take; a layer's
biases are carried beside the running sum and added where it is read; of its states only the
positions that a picture hears are gathered. `engine.models.whisper` is what this equals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.layers import rows_of
from engine.models.ops import Ops
from engine.models.transformer import attend


def scaled(log: Tensor, floor: Tensor) -> Tensor:
    """Log-mel (batch, rows, 80) as the encoder takes it; shapes as in `features.Heard`."""
    return (torch.maximum(log, floor[:, None, None]) + 4.0) / 4.0


class FastEncoder:
    """Log-mel to the states that pictures hear.

    Args:
        encoder: transformers' WhisperEncoder.
    """

    def __init__(self, ops: Ops, encoder: Any) -> None:
        self._ops = ops
        self._stem = [
            (conv.weight[:, :, None].contiguous(memory_format=torch.channels_last), conv)
            for conv in (encoder.conv1, encoder.conv2)
        ]
        self._places: Tensor = encoder.embed_positions.weight
        offset = torch.zeros_like(encoder.layer_norm.bias)
        self._layers = []
        for layer in encoder.layers:
            self._layers.append(_Layer(ops, layer, offset))
            offset = self._layers[-1].offset
        # The last state is normalised, its offset with it.
        self._offsets = torch.stack(
            [layer.before for layer in self._layers] + [torch.zeros_like(offset)]
        )
        self._last_offset, self._last_norm = offset, encoder.layer_norm

    def __call__(self, log: Tensor, floor: Tensor, index: Tensor) -> Tensor:
        """States (batch, 10, layers + 1, 384); shapes of the arguments as in `features.Heard`."""
        image = scaled(log, floor).to(self._places.dtype)
        image = image[:, None].permute(0, 3, 1, 2)
        for weight, conv in self._stem:
            image = functional.conv2d(
                image, weight, conv.bias, (1, *conv.stride), (0, *conv.padding)
            )
            image = functional.gelu(image)
        batch, _, _, length = image.shape
        rows = (rows_of(image).view(batch, length, -1) + self._places[:length]).flatten(0, 1)
        picked = (torch.arange(batch, device=index.device)[:, None] * length + index).flatten()
        heard = []
        for layer in self._layers:
            heard.append(rows[picked])
            rows = layer(rows, batch)
        norm = self._last_norm
        last = rows[picked]
        heard.append(
            self._ops.layer_norm(last, self._last_offset, norm.weight, norm.bias, norm.eps)
        )
        states = torch.stack(heard, dim=1) + self._offsets
        return states.view(batch, -1, *states.shape[1:])


class _Layer:
    """Self-attention and a feed-forward, over rows to which constants are still to be added.

    Attributes:
        before: (384,) what is still to be added to the rows that come in.
        offset: the same of those that go out.
    """

    def __init__(self, ops: Ops, layer: Any, before: Tensor) -> None:
        self._ops = ops
        self._layer = layer
        attention = layer.self_attn
        self._heads = attention.num_heads
        parts = attention.q_proj, attention.k_proj, attention.v_proj
        self._in = torch.cat([part.weight for part in parts])
        query, value = attention.q_proj.bias, attention.v_proj.bias
        self._in_bias = torch.cat([query, torch.zeros_like(query), value])
        self._joins = [linear.weight.t().contiguous() for linear in (attention.out_proj, layer.fc2)]
        self.before = before
        self._between = (before.double() + attention.out_proj.bias.double()).to(before.dtype)
        self.offset = (self._between.double() + layer.fc2.bias.double()).to(before.dtype)

    def __call__(self, rows: Tensor, batch: int) -> Tensor:
        layer = self._layer
        normed = self._read(rows, self.before, layer.self_attn_layer_norm)
        mixed = functional.linear(normed, self._in, self._in_bias)
        query, key, value = mixed.view(batch, -1, 3, self._heads, self._depth).unbind(2)
        rows.addmm_(attend(query, key, value), self._joins[0])
        normed = self._read(rows, self._between, layer.final_layer_norm)
        wide = functional.gelu(functional.linear(normed, layer.fc1.weight, layer.fc1.bias))
        return rows.addmm_(wide, self._joins[1])

    @property
    def _depth(self) -> int:
        return int(self._joins[0].shape[1]) // int(self._heads)

    def _read(self, rows: Tensor, offset: Tensor, norm: Any) -> Tensor:
        return self._ops.layer_norm(rows, offset, norm.weight, norm.bias, norm.eps)
