"""Nearest-neighbour doubling and a 3 x 3 convolution as one 2 x 2 convolution of four phases.

Exact but for rounding, with 4 / 9 of the work (musetalk.md §6, lever 1).
"""

from __future__ import annotations

import torch
from torch import Tensor


def phase_weight(weight: Tensor) -> Tensor:
    """(4 C, C', 2, 2) of a 3 x 3 convolution's (C, C', 3, 3); phase 2 * row + column first.

    An even row of the doubled picture sees source rows y - 1 (the first tap) and y (the other two
    together); an odd one sees y (two taps) and y + 1. The same for columns.
    """
    wide = weight.double()
    rows = [
        torch.stack([wide[:, :, 0], wide[:, :, 1] + wide[:, :, 2]], dim=2),
        torch.stack([wide[:, :, 0] + wide[:, :, 1], wide[:, :, 2]], dim=2),
    ]
    phases = []
    for row in rows:
        left, middle, right = row[..., 0], row[..., 1], row[..., 2]
        phases.append(torch.stack([left, middle + right], dim=3))
        phases.append(torch.stack([left + middle, right], dim=3))
    return torch.cat(phases).to(weight.dtype)


def interleave(phases: Tensor) -> Tensor:
    """The doubled picture (batch, C, 2 H, 2 W) of a phase convolution's output with padding 1.

    Args:
        phases: (batch, 4 C, H + 1, W + 1); phase (p, q) of source pixel (y, x) is at (y+p, x+q).
    """
    batch, channels, height, width = phases.shape
    size = (batch, channels // 4, 2 * (height - 1), 2 * (width - 1))
    doubled = phases.new_empty(size)
    for index, plane in enumerate(phases.chunk(4, dim=1)):
        p, q = divmod(index, 2)
        doubled[:, :, p::2, q::2] = plane[:, :, p : p + height - 1, q : q + width - 1]
    return doubled
