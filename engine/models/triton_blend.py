"""Triton kernel that pastes painted faces into frames: one launch for a mixed batch."""

import triton
import triton.language as tl


@triton.jit
def _neighbours(place, side, length):
    """Two source pixels of a scaled axis, and the second's weight of 2048, as OpenCV has them."""
    scale = side.to(tl.float32) / length.to(tl.float32)
    at = tl.maximum((place.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    low = tl.minimum(at.to(tl.int32), side - 1)
    share = tl.minimum(at - low.to(tl.float32), 1.0)
    return low, tl.minimum(low + 1, side - 1), (share * 2048.0 + 0.5).to(tl.int32)


@triton.jit
def _level(below, face, top, bottom, left, right, across, down, weight, boxed):
    """A channel of the face, resized and pasted over the frame's."""
    a = tl.load(face + top + left, mask=boxed, other=0).to(tl.int32)
    b = tl.load(face + top + right, mask=boxed, other=0).to(tl.int32)
    c = tl.load(face + bottom + left, mask=boxed, other=0).to(tl.int32)
    d = tl.load(face + bottom + right, mask=boxed, other=0).to(tl.int32)
    upper = a * (2048 - across) + b * across
    lower = c * (2048 - across) + d * across
    sized = ((upper >> 4) * (2048 - down) >> 16) + ((lower >> 4) * down >> 16)
    above = tl.where(boxed, sized + 2 >> 2, below)
    total = above * weight + below * (255 - weight) + 128
    return (total >> 8) + total >> 8


@triton.jit
def blend_patches(
    table, faces, out,
    FIELDS: tl.constexpr, SIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Faces (batch, SIDE, SIDE, 3) resized and pasted through masks, as I420.

    Grid: (jobs, blocks of 2 x 2 pixels). Each row of `table` is of one job: addresses of the
    frame's region (rows, columns, 3) and of its mask (rows, columns); first byte of its patch in
    `out`; columns and rows of the region; left, top, width and height of the face's box, in the
    region's coordinates; weight, of 256.
    """
    job = tl.program_id(0)
    row = table + job * FIELDS
    frame = tl.load(row).to(tl.pointer_type(tl.uint8))
    mask = tl.load(row + 1).to(tl.pointer_type(tl.uint8))
    patch = out + tl.load(row + 2)
    columns = tl.load(row + 3).to(tl.int32)
    rows = tl.load(row + 4).to(tl.int32)
    left = tl.load(row + 5).to(tl.int32)
    top = tl.load(row + 6).to(tl.int32)
    width = tl.load(row + 7).to(tl.int32)
    height = tl.load(row + 8).to(tl.int32)
    share = tl.load(row + 9).to(tl.int32)
    face = faces + job.to(tl.int64) * SIDE * SIDE * 3
    side = tl.full([1], SIDE, tl.int32)
    half = tl.maximum(columns // 2, 1)  # a region may be empty
    block = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = block < half * (rows // 2)
    for corner in tl.static_range(4):
        x = block % half * 2 + corner % 2
        y = block // half * 2 + corner // 2
        at = y * columns + x
        boxed = here & (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
        x0, x1, across = _neighbours(x - left, side, width)
        y0, y1, down = _neighbours(y - top, side, height)
        a, b, c, d = y0 * SIDE * 3, y1 * SIDE * 3, x0 * 3, x1 * 3
        weight = tl.load(mask + at, mask=here, other=0).to(tl.int32) * share >> 8
        own = frame + at * 3
        blue = tl.load(own, mask=here, other=0).to(tl.int32)
        green = tl.load(own + 1, mask=here, other=0).to(tl.int32)
        red = tl.load(own + 2, mask=here, other=0).to(tl.int32)
        blue = _level(blue, face, a, b, c, d, across, down, weight, boxed)
        green = _level(green, face + 1, a, b, c, d, across, down, weight, boxed)
        red = _level(red, face + 2, a, b, c, d, across, down, weight, boxed)
        # BT.601 in 20 bits after the point.
        luma = red * 269484 + green * 528482 + blue * 102760 + (16 << 20) + (1 << 19)
        tl.store(patch + at, (luma >> 20).to(tl.uint8), mask=here)
        # OpenCV, too, takes chroma from the upper left of four pixels.
        if corner == 0:
            u = blue * 460324 - green * 305135 - red * 155188 + (128 << 20) + (1 << 19)
            v = red * 460324 - green * 385875 - blue * 74448 + (128 << 20) + (1 << 19)
            planes = patch + columns * rows
            tl.store(planes + block, (u >> 20).to(tl.uint8), mask=here)
            tl.store(planes + half * (rows // 2) + block, (v >> 20).to(tl.uint8), mask=here)
