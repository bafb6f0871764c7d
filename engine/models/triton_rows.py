"""Triton kernels of the transformers' rows, and of the decoder's last convolution."""

import triton
import triton.language as tl


@triton.jit
def layer_norm_rows(
    x, offset, weight, bias, out, rows, channels, eps,
    ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Layer norm of x + offset. Grid: (blocks of rows,)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, CHANNELS)
    inside = column < channels
    mask = (row < rows)[:, None] & inside[None, :]
    at = (row.to(tl.int64) * channels)[:, None] + column[None, :]
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    value += tl.load(offset + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    mean = tl.sum(value, axis=1) / channels
    centred = tl.where(inside[None, :], value - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) / channels
    normed = centred / tl.sqrt(variance + eps)[:, None]
    gain = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    normed = normed * gain[None, :] + shift[None, :]
    tl.store(out + at, normed.to(out.dtype.element_ty), mask=mask)


@triton.jit
def geglu_rows(x, out, count, width, BLOCK: tl.constexpr):
    """First half of a row times the exact GELU of its second half. Grid: (blocks of outputs,)."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = index < count
    at = index + index // width * width
    value = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(x + at + width, mask=mask, other=0.0).to(tl.float32)
    gelu = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(out + index, (value * gelu).to(out.dtype.element_ty), mask=mask)


@triton.jit
def last_conv(
    x, weight, bias, out, bad, height, width, channels, scale, shift,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """3 x 3 convolution to 3 planes, as uint8 BGR. Grid: (batch, blocks of pixels).

    weight: (9 taps, channels, 16) with the planes first and zeros behind, the least that the
    matrix units take.
    """
    batch = tl.program_id(0)
    pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    row = pixel // width
    col = pixel % width
    plane = tl.arange(0, 16)
    total = tl.zeros([PIXELS, 16], tl.float32)
    for tap in range(9):
        y = row + tap // 3 - 1
        z = col + tap % 3 - 1
        valid = (y >= 0) & (y < height) & (z >= 0) & (z < width)
        place = ((batch.to(tl.int64) * height + y) * width + z) * channels
        for start in range(0, channels, CHANNELS):
            column = start + tl.arange(0, CHANNELS)
            inside = column < channels
            seen = tl.load(
                x + place[:, None] + column[None, :],
                mask=valid[:, None] & inside[None, :],
                other=0.0,
            )
            taps = tl.load(
                weight + (tap * channels + column)[:, None] * 16 + plane[None, :],
                mask=inside[:, None],
                other=0.0,
            )
            total = tl.dot(seen, taps, total)
    total += tl.load(bias + plane)[None, :]
    inside = (pixel < height * width)[:, None] & (plane < 3)[None, :]
    # Not finite: the exponent's bits are all ones. Comparisons with NaN would be at the compiler's
    # mercy.
    broken = ((total.to(tl.int32, bitcast=True) & 0x7F800000) == 0x7F800000) & inside
    if tl.max(broken.to(tl.int32)) > 0:
        tl.store(bad + batch, 1)
    level = tl.minimum(tl.maximum(total * scale + shift, 0.0), 1.0) * 255.0
    # Adding 1.5 * 2**23 leaves no bits for a fraction: rounds half to even, as numpy does.
    level = (level + 12582912.0) - 12582912.0
    at = ((batch.to(tl.int64) * height * width + pixel) * 3)[:, None] + (2 - plane)[None, :]
    tl.store(out + at, level.to(tl.uint8), mask=inside)
