"""The operations between convolutions: sums, norms, activations; plain here, Triton on a GPU.

Maps are channels-last (batch, channels, height, width). A map that was computed but not yet summed
up is a `Sum`; whoever reads it next adds its bias and residual while normalising, so that each sum
costs no pass of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engine.models.phases import interleave


@dataclass(frozen=True, slots=True)
class Norm:
    """A group norm, and whether SiLU follows it."""

    weight: Tensor  # (channels,)
    bias: Tensor  # (channels,)
    groups: int
    eps: float
    silu: bool = True


@dataclass(frozen=True, slots=True)
class Sum:
    """A map to be read as x + bias + residual, then joined with `skip` on the channels."""

    x: Tensor  # (batch, channels, H, W), or (batch, 4 * channels, H/2 + 1, W/2 + 1) where phased
    bias: Tensor | None = None  # (channels,)
    residual: Tensor | None = None  # (batch, channels, H, W)
    skip: Tensor | None = None  # (batch, more channels, H, W)
    phased: bool = False  # x comes from a phase convolution (engine.models.phases)

    @property
    def size(self) -> tuple[int, int]:
        height, width = int(self.x.shape[2]), int(self.x.shape[3])
        return (2 * (height - 1), 2 * (width - 1)) if self.phased else (height, width)

    @property
    def channels(self) -> int:
        """Without those of the skip."""
        return int(self.x.shape[1]) // (4 if self.phased else 1)


class Ops(Protocol):
    """The passes between convolutions and matrix products."""

    def settle(self, pending: Sum) -> Tensor:
        """The summed map."""
        ...

    def settle_norm(self, pending: Sum, norm: Norm) -> tuple[Tensor, Tensor]:
        """The summed map, and its norm."""
        ...

    def norm(self, pending: Sum, norm: Norm) -> Tensor:
        """The norm alone, where nobody reads the sum again."""
        ...

    def layer_norm(
        self, rows: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        """Layer norm of rows + offset: rows (n, channels), offset (channels,)."""
        ...

    def geglu(self, rows: Tensor) -> Tensor:
        """First half times the exact GELU of the second: (n, 2 m) to (n, m)."""
        ...

    def picture(
        self, image: Tensor, weight: Tensor, bias: Tensor, scale: float, shift: float, bad: Tensor
    ) -> Tensor:
        """Last 3 x 3 convolution and its uint8 BGR pictures (batch, H, W, 3).

        Args:
            image: (batch, channels, H, W).
            weight: (3, channels, 3, 3) and bias (3,), of RGB planes.
            scale, shift: level / 255 = clamp(scale * plane + shift, 0, 1), rounded half to even.
            bad: (batch,) int32, set to 1 where a picture has a value that is not finite.
        """
        ...


class PlainOps:
    """The same in PyTorch's own operators: for CPUs, and what the kernels are gated against."""

    def settle(self, pending: Sum) -> Tensor:
        total = interleave(pending.x) if pending.phased else pending.x
        if pending.bias is not None:
            total = total + pending.bias[:, None, None]
        if pending.residual is not None:
            total = total + pending.residual
        if pending.skip is not None:
            total = torch.cat([total, pending.skip], dim=1)
        return total

    def settle_norm(self, pending: Sum, norm: Norm) -> tuple[Tensor, Tensor]:
        total = self.settle(pending)
        out = functional.group_norm(total, norm.groups, norm.weight, norm.bias, norm.eps)
        return total, functional.silu(out) if norm.silu else out

    def norm(self, pending: Sum, norm: Norm) -> Tensor:
        return self.settle_norm(pending, norm)[1]

    def layer_norm(
        self, rows: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        return functional.layer_norm(rows + offset, (rows.shape[-1],), weight, bias, eps)

    def geglu(self, rows: Tensor) -> Tensor:
        value, gate = rows.chunk(2, dim=-1)
        return value * functional.gelu(gate)

    def picture(
        self, image: Tensor, weight: Tensor, bias: Tensor, scale: float, shift: float, bad: Tensor
    ) -> Tensor:
        planes = functional.conv2d(image, weight, bias, padding=1)
        bad |= (~planes.isfinite()).flatten(1).any(dim=1)
        levels = (planes.float() * scale + shift).nan_to_num().clamp(0, 1).mul(255).round()
        return levels.to(torch.uint8).permute(0, 2, 3, 1).flip(3).contiguous()


def best_ops(device: torch.device) -> Ops:
    """Triton's kernels on a GPU, PyTorch's operators elsewhere."""
    if device.type != "cuda":
        return PlainOps()
    from engine.models.triton_ops import TritonOps

    return TritonOps()
