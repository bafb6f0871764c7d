"""`Ops` by Triton kernels, for channels-last half-precision maps on a GPU."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from engine.models.ops import Norm, Sum
from engine.models.triton_norm import add_and_sum, apply, finish, whole_group
from engine.models.triton_rows import geglu_rows, last_conv, layer_norm_rows

WIDEST = 256
"""Channels of a program at most."""

TILE = 4096
"""Values that a program holds at once: 32 for each of 128 threads."""

PROGRAMS = 1056
"""Programs that a summing pass aims at: eight for each of an H200's 132 multiprocessors."""

WHOLE = 8192
"""Values of a group that a program normalises in one pass, at most.

UNet at batch 16 on an H200, ms: never 7.52; up to 4096 7.36, 8192 7.32, 16384 7.70, 32768 10.9.
"""


def _block(*channels: int) -> int:
    """The largest power of two, at most 256, that divides all counts of channels."""
    common = WIDEST
    for count in channels:
        common = min(common, count & -count) if count else common
    return common


def _held(pixels: int, group: int) -> int:
    """Values that a program holds of a group: its shape is of powers of two."""
    return int(triton.next_power_of_2(pixels) * triton.next_power_of_2(group))


class TritonOps:
    """See `engine.models.ops.Ops`; `PlainOps` is what these are gated against."""

    def __init__(self, whole: int = WHOLE) -> None:
        """`whole`: values of a group up to which its norm is one pass; 0 for never."""
        self.whole = whole
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}

    def settle(self, pending: Sum) -> Tensor:
        return self._settle(pending, store=True, sums=False)[0]

    def settle_norm(self, pending: Sum, norm: Norm) -> tuple[Tensor, Tensor]:
        plain = not pending.phased and pending.bias is None
        if plain and pending.residual is None and pending.skip is None:
            return pending.x, self.norm(pending, norm)
        if self._fits(pending, norm):
            return self._whole(pending, norm, store=True)
        image, partial = self._settle(pending, store=True, sums=True)
        return image, self._apply(image, partial, norm, None)

    def norm(self, pending: Sum, norm: Norm) -> Tensor:
        if self._fits(pending, norm):
            return self._whole(pending, norm, store=False)[1]
        if pending.phased or pending.residual is not None or pending.skip is not None:
            return self.settle_norm(pending, norm)[1]
        partial = self._settle(pending, store=False, sums=True)[1]
        return self._apply(pending.x, partial, norm, pending.bias)

    def _fits(self, pending: Sum, norm: Norm) -> bool:
        height, width = pending.size
        group = len(norm.weight) // norm.groups
        return _held(height * width, group) <= self.whole

    def _whole(self, pending: Sum, norm: Norm, *, store: bool) -> tuple[Tensor, Tensor]:
        x, skip = pending.x, pending.skip
        batch, (height, width) = x.shape[0], pending.size
        pixels, total = height * width, len(norm.weight)
        group = total // norm.groups
        normed = x.new_empty((batch, height, width, total)).permute(0, 3, 1, 2)
        out = torch.empty_like(normed) if store else x
        _run(
            whole_group, (batch, norm.groups),
            x, pending.bias, pending.residual, skip, norm.weight, norm.bias, out, normed,
            pixels, width, pending.channels, total - pending.channels, group,
            float(pixels * group), norm.eps,
            HAS_BIAS=pending.bias is not None, HAS_RESIDUAL=pending.residual is not None,
            HAS_SKIP=skip is not None, PHASED=pending.phased, STORE=store, SILU=norm.silu,
            PIXELS=triton.next_power_of_2(pixels), GROUP=triton.next_power_of_2(group),
            num_warps=max(4, min(16, _held(pixels, group) // 1024)),
        )  # fmt: skip
        return out, normed

    def _settle(self, pending: Sum, *, store: bool, sums: bool) -> tuple[Tensor, Tensor]:
        x, skip = pending.x, pending.skip
        batch, (height, width) = x.shape[0], pending.size
        more = int(skip.shape[1]) if skip is not None else 0
        channels, pixels = pending.channels, height * width
        block = _block(channels, more)
        blocks = (channels + more) // block
        rows = max(1, TILE // block)
        wanted = max(1, PROGRAMS // (batch * blocks))
        per_program = max(rows, triton.cdiv(triton.cdiv(pixels, wanted), rows) * rows)
        programs = triton.cdiv(pixels, per_program)
        out = x
        if store:
            out = x.new_empty((batch, height, width, channels + more)).permute(0, 3, 1, 2)
        partial = x.new_empty((batch, programs, 2, channels + more), dtype=torch.float32)
        _run(
            add_and_sum, (batch, programs, blocks),
            x, pending.bias, pending.residual, skip, out, partial,
            pixels, per_program, width, channels, more,
            HAS_BIAS=pending.bias is not None, HAS_RESIDUAL=pending.residual is not None,
            HAS_SKIP=skip is not None, PHASED=pending.phased, STORE=store, SUMS=sums,
            PIXELS=rows, CHANNELS=block,
        )  # fmt: skip
        return out, partial

    def _apply(self, image: Tensor, partial: Tensor, norm: Norm, pending: Tensor | None) -> Tensor:
        batch, channels, height, width = image.shape
        pixels, programs, group = height * width, partial.shape[1], channels // norm.groups
        scale, shift = image.new_empty((2, batch, channels), dtype=torch.float32)
        _run(
            finish, (batch, norm.groups),
            partial, norm.weight, norm.bias, pending, scale, shift,
            programs, channels, group, float(group * pixels), norm.eps,
            HAS_PENDING=pending is not None,
            PROGRAMS=min(32, triton.next_power_of_2(programs)),
            GROUP=triton.next_power_of_2(group),
        )  # fmt: skip
        out = torch.empty_like(image, memory_format=torch.channels_last)
        block = _block(channels)
        rows = max(1, TILE // block)
        _run(
            apply, (batch, triton.cdiv(pixels, rows), channels // block),
            image, scale, shift, out, pixels, channels,
            SILU=norm.silu, PIXELS=rows, CHANNELS=block,
        )  # fmt: skip
        return out

    def layer_norm(
        self, rows: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        count, channels = rows.shape
        out = torch.empty_like(rows)
        wide = triton.next_power_of_2(channels)
        tall = max(1, TILE // wide)
        _run(
            layer_norm_rows, (triton.cdiv(count, tall),),
            rows, offset, weight, bias, out, count, channels, eps,
            ROWS=tall, CHANNELS=wide,
        )  # fmt: skip
        return out

    def geglu(self, rows: Tensor) -> Tensor:
        out = rows.new_empty((rows.shape[0], rows.shape[1] // 2))
        _run(
            geglu_rows, (triton.cdiv(out.numel(), 2048),),
            rows, out, out.numel(), out.shape[1], BLOCK=2048,
        )  # fmt: skip
        return out

    def picture(
        self, image: Tensor, weight: Tensor, bias: Tensor, scale: float, shift: float, bad: Tensor
    ) -> Tensor:
        batch, channels, height, width = image.shape
        taps, offset = self._last_weights(weight, bias)
        out = image.new_empty((batch, height, width, 3), dtype=torch.uint8)
        _run(
            last_conv, (batch, triton.cdiv(height * width, 128)),
            image, taps, offset, out, bad, height, width, channels, scale, shift,
            PIXELS=128, CHANNELS=max(16, min(64, triton.next_power_of_2(channels))),
        )  # fmt: skip
        return out

    def _last_weights(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(9, channels, 16) taps and (16,) single-precision bias, padded with zeros; kept."""
        key = weight.data_ptr()
        if key not in self._packed:
            taps = weight.new_zeros((9, weight.shape[1], 16))
            taps[:, :, :3] = weight.permute(2, 3, 1, 0).reshape(9, -1, 3)
            offset = bias.new_zeros(16, dtype=torch.float32)
            offset[:3] = bias
            self._packed[key] = taps, offset
        return self._packed[key]


def _run(kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
    """Launch. An absent tensor is passed as the first one: its flag says that it is not read."""
    tensors = [args[0] if argument is None else argument for argument in args]
    kernel[grid](*tensors, **options)
