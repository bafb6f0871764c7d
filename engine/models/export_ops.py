"""`Ops` in operators that TensorRT runs as they are written, for the export to ONNX.

What differs from `PlainOps`: nothing is written in place or scattered, and no axis is reversed.
TensorRT 10.6 drops a `Slice` with a step of -1 without a word, so the order of the colour channels
is put into the last convolution's weights (`bgr_last`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.ops import PlainOps, Sum


class ExportOps(PlainOps):
    """See `engine.models.ops.Ops`.

    Attributes:
        broken: (batch,) int32, how many values of the last `picture` were not finite.
    """

    broken: Tensor

    def settle(self, pending: Sum) -> Tensor:
        if pending.phased:
            pending = Sum(doubled(pending.x), pending.bias, pending.residual, pending.skip)
        return super().settle(pending)

    def picture(
        self, image: Tensor, weight: Tensor, bias: Tensor, scale: float, shift: float, bad: Tensor
    ) -> Tensor:
        """As `Ops.picture`, for weights of BGR planes; `bad` is left alone, see `broken`."""
        planes = functional.conv2d(image, weight, bias, padding=1).float()
        self.broken = not_finite(planes)
        levels = (planes * scale + shift).clamp(0, 1).mul(255).round().permute(0, 2, 3, 1)
        # The cast comes last: TensorRT knows uint8 only where a network ends.
        return levels.to(torch.uint8)


def doubled(phases: Tensor) -> Tensor:
    """`engine.models.phases.interleave` without writing into slices."""
    batch, channels, height, width = phases.shape
    rows, columns = height - 1, width - 1
    planes = [
        plane[:, :, index // 2 : index // 2 + rows, index % 2 : index % 2 + columns]
        for index, plane in enumerate(phases.chunk(4, dim=1))
    ]
    lines = [torch.stack(planes[:2], dim=-1), torch.stack(planes[2:], dim=-1)]
    return torch.stack(lines, dim=3).reshape(batch, channels // 4, 2 * rows, 2 * columns)


def bgr_last(kind: str, vae: Any) -> None:
    """Reorder the output planes of a published decoder from RGB to BGR, in place."""
    last = vae.decoder.conv_out if kind == "kl" else vae.decoder.layers[-1]
    order = [2, 1, 0]
    with torch.no_grad():
        last.weight.copy_(last.weight[order].clone())
        last.bias.copy_(last.bias[order].clone())


def not_finite(values: Tensor) -> Tensor:
    """(batch,) int32 how many; written with operators that TensorRT knows."""
    return (values.isnan() | values.isinf()).to(torch.int32).sum(dim=(1, 2, 3)).to(torch.int32)
