"""Triton kernels of the group norms: sums on the way, finish, apply.

A map is read once to add what is pending and to sum it up per channel, and once to be normalised;
the step between turns the sums into a scale and a shift a channel. Channels-last throughout, so a
program owns some pixels and a power of two of channels. A group small enough for one program's
registers takes a single pass (`whole_group`): at these sizes launches cost more than reads.
"""

import triton
import triton.language as tl


@triton.jit
def _pending(
    x, residual, skip, batch, pixel, column, valid,
    pixels, width, channels, skip_channels,
    HAS_RESIDUAL: tl.constexpr, HAS_SKIP: tl.constexpr, PHASED: tl.constexpr,
):  # fmt: skip
    """x + residual, joined with skip, of some pixels and columns, in single precision."""
    own = (column < channels)[None, :]
    place = batch.to(tl.int64) * pixels + pixel
    if PHASED:
        row = pixel // width
        col = pixel % width
        p = row % 2
        q = col % 2
        source = (row // 2 + p) * (width // 2 + 1) + col // 2 + q
        area = (pixels // width // 2 + 1) * (width // 2 + 1)
        start = (batch.to(tl.int64) * area + source) * 4 * channels
        at = x + (start + (2 * p + q) * channels)[:, None] + column[None, :]
    else:
        at = x + (place * channels)[:, None] + column[None, :]
    value = tl.load(at, mask=valid & own, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        at = residual + (place * channels)[:, None] + column[None, :]
        value += tl.load(at, mask=valid & own, other=0.0).to(tl.float32)
    if HAS_SKIP:
        joined = (column >= channels)[None, :]
        at = skip + (place * skip_channels)[:, None] + (column - channels)[None, :]
        value += tl.load(at, mask=valid & joined, other=0.0).to(tl.float32)
    return value


@triton.jit
def whole_group(
    x, bias, residual, skip, weight, shift, out, normed,
    pixels, width, channels, skip_channels, group, count, eps,
    HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_SKIP: tl.constexpr,
    PHASED: tl.constexpr, STORE: tl.constexpr, SILU: tl.constexpr,
    PIXELS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """v = x + bias + residual, joined with skip, stored as asked; and silu(norm(v)), in one pass.

    Grid: (batch, groups). PIXELS and GROUP are powers of two that hold a group of a picture.
    """
    batch = tl.program_id(0)
    pixel = tl.arange(0, PIXELS)
    place = tl.arange(0, GROUP)
    inside = place < group
    column = tl.program_id(1) * group + place
    valid = (pixel < pixels)[:, None] & inside[None, :]
    value = _pending(
        x, residual, skip, batch, pixel, column, valid,
        pixels, width, channels, skip_channels, HAS_RESIDUAL, HAS_SKIP, PHASED,
    )  # fmt: skip
    if HAS_BIAS:
        add = tl.load(bias + column, mask=inside & (column < channels), other=0.0)
        value += add.to(tl.float32)[None, :]
    value = tl.where(valid, value, 0.0)
    total = channels + skip_channels
    at = ((batch.to(tl.int64) * pixels + pixel) * total)[:, None] + column[None, :]
    if STORE:
        tl.store(out + at, value.to(out.dtype.element_ty), mask=valid)
    centred = tl.where(valid, value - tl.sum(value) / count, 0.0)
    variance = tl.sum(centred * centred) / count
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    offset = tl.load(shift + column, mask=inside, other=0.0).to(tl.float32)
    level = centred * (gain / tl.sqrt(variance + eps))[None, :] + offset[None, :]
    if SILU:
        level = level / (1.0 + tl.exp(-level))
    tl.store(normed + at, level.to(normed.dtype.element_ty), mask=valid)


@triton.jit
def add_and_sum(
    x, bias, residual, skip, out, partial,
    pixels, per_program, width, channels, skip_channels,
    HAS_BIAS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_SKIP: tl.constexpr,
    PHASED: tl.constexpr, STORE: tl.constexpr, SUMS: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """v = x + bias + residual, joined with skip; stored and summed as asked.

    Grid: (batch, programs a picture, channel blocks). partial: (batch, programs, 2, all channels).
    """
    batch = tl.program_id(0)
    program = tl.program_id(1)
    block = tl.program_id(2)
    total = channels + skip_channels
    column = block * CHANNELS + tl.arange(0, CHANNELS)
    add = tl.zeros([CHANNELS], tl.float32)
    if HAS_BIAS:
        add = tl.load(bias + column, mask=column < channels, other=0.0).to(tl.float32)
    sums = tl.zeros([PIXELS, CHANNELS], tl.float32)
    squares = tl.zeros([PIXELS, CHANNELS], tl.float32)
    first = program * per_program
    for start in range(first, min(first + per_program, pixels), PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        valid = (pixel < min(first + per_program, pixels))[:, None]
        value = _pending(
            x, residual, skip, batch, pixel, column, valid,
            pixels, width, channels, skip_channels, HAS_RESIDUAL, HAS_SKIP, PHASED,
        )  # fmt: skip
        value += add[None, :]
        if STORE:
            place = batch.to(tl.int64) * pixels + pixel
            at = out + (place * total)[:, None] + column[None, :]
            tl.store(at, value.to(out.dtype.element_ty), mask=valid)
        if SUMS:
            value = tl.where(valid, value, 0.0)
            sums += value
            squares += value * value
    if SUMS:
        programs = tl.num_programs(1)
        at = partial + ((batch * programs + program) * 2) * total + column
        tl.store(at, tl.sum(sums, axis=0))
        tl.store(at + total, tl.sum(squares, axis=0))


@triton.jit
def finish(
    partial, weight, bias, pending, scale, shift,
    programs, channels, group, count, eps,
    HAS_PENDING: tl.constexpr, PROGRAMS: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Scale and shift of each channel from the sums of its group. Grid: (batch, groups).

    Where v was not stored, its bias (`pending`) is still missing and goes into the shift.
    """
    batch = tl.program_id(0)
    inside = tl.arange(0, GROUP)
    column = tl.program_id(1) * group + inside
    valid = inside < group
    sums = tl.zeros([PROGRAMS, GROUP], tl.float32)
    squares = tl.zeros([PROGRAMS, GROUP], tl.float32)
    for start in range(0, programs, PROGRAMS):
        row = start + tl.arange(0, PROGRAMS)
        at = partial + ((batch * programs + row) * 2 * channels)[:, None] + column[None, :]
        mask = (row < programs)[:, None] & valid[None, :]
        sums += tl.load(at, mask=mask, other=0.0)
        squares += tl.load(at + channels, mask=mask, other=0.0)
    mean = tl.sum(sums) / count
    variance = tl.maximum(tl.sum(squares) / count - mean * mean, 0.0)
    gain = tl.load(weight + column, mask=valid, other=0.0).to(tl.float32) / tl.sqrt(variance + eps)
    offset = tl.load(bias + column, mask=valid, other=0.0).to(tl.float32) - mean * gain
    if HAS_PENDING:
        offset += tl.load(pending + column, mask=valid, other=0.0).to(tl.float32) * gain
    tl.store(scale + batch * channels + column, gain, mask=valid)
    tl.store(shift + batch * channels + column, offset, mask=valid)


@triton.jit
def apply(
    x, scale, shift, out, pixels, channels,
    SILU: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """y = silu(x * scale + shift). Grid: (batch, pixel blocks, channel blocks)."""
    batch = tl.program_id(0)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    column = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    valid = (pixel < pixels)[:, None]
    place = (batch.to(tl.int64) * pixels + pixel) * channels
    at = place[:, None] + column[None, :]
    value = tl.load(x + at, mask=valid, other=0.0).to(tl.float32)
    gain = tl.load(scale + batch * channels + column)
    offset = tl.load(shift + batch * channels + column)
    value = value * gain[None, :] + offset[None, :]
    if SILU:
        value = value / (1.0 + tl.exp(-value))
    tl.store(out + at, value.to(out.dtype.element_ty), mask=valid)
