"""Brushes for a drawn portrait: soft masks, gradients and tapered strokes on big canvases.

Everything is measured in units of the finished 512 x 512 picture; the canvas is SCALE times that.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512
SCALE = 4
Mask = NDArray[np.float32]  # (SIZE * SCALE, SIZE * SCALE) 0..1
Points = list[tuple[float, float]]


def colour(code: str) -> NDArray[np.float32]:
    """`#rrggbb` as BGR, 0..1."""
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return np.array([blue, green, red], np.float32)


def path(text: str, dx: float = 0, dy: float = 0, flip: bool = False) -> Points:
    """Points written as in SVG, `x,y x,y …`; moved, or mirrored on the picture's middle."""
    pairs = (pair.split(",") for pair in text.split())
    points = [(float(x) + dx, float(y) + dy) for x, y in pairs]
    return mirror(points) if flip else points


def curve(points: Points, closed: bool = False, steps: int = 24) -> NDArray[np.float64]:
    """A Catmull-Rom curve through the points: (m, 2)."""
    knots = np.array(points, float)
    if closed:
        knots = np.vstack([knots[-1], knots, knots[0], knots[1]])
    else:
        knots = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        parts.append(
            0.5
            * (
                2 * b
                + (c - a) * t
                + (2 * a - 5 * b + 4 * c - d) * t**2
                + (3 * b - a - 3 * c + d) * t**3
            )
        )
    if not closed:
        parts.append(knots[-2][None])
    return np.vstack(parts)


def mirror(points: Points, axis: float = SIZE / 2) -> Points:
    return [(2 * axis - x, y) for x, y in points]


def soften(mask: Mask, blur: float) -> Mask:
    """Gaussian blur of `blur` units, done only where there is something."""
    if blur <= 0 or not mask.any():
        return mask
    sigma = blur * SCALE
    x, y, w, h = cv2.boundingRect((mask > 0).astype(np.uint8))
    pad = int(3 * sigma) + 1
    y0, y1 = max(0, y - pad), min(mask.shape[0], y + h + pad)
    x0, x1 = max(0, x - pad), min(mask.shape[1], x + w + pad)
    part = mask[y0:y1, x0:x1]
    # A wide blur is done on a smaller picture: the same to the eye, and a hundred times cheaper.
    shrink = max(1, int(sigma // 6))
    small = cv2.resize(part, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    out = np.zeros_like(mask)
    out[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
    return np.clip(out, 0, 1)


def blank() -> Mask:
    return np.zeros((SIZE * SCALE, SIZE * SCALE), np.float32)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Pixel coordinates with 4 binary places; unit (0, 0) is the picture's corner."""
    return np.round((points * SCALE - 0.5) * 16).astype(np.int32)


def fill(points: Points | NDArray[np.float64], blur: float = 0, smooth: bool = True) -> Mask:
    """The inside of a closed curve (or, not `smooth`, of a polygon)."""
    outline = curve(list(points), closed=True) if smooth else np.asarray(points, float)
    out = np.zeros((SIZE * SCALE, SIZE * SCALE), np.uint8)
    cv2.fillPoly(out, [_fixed(outline)], 255, cv2.LINE_AA, 4)
    return soften(out.astype(np.float32) / 255, blur)


def oval(x: float, y: float, rx: float, ry: float, blur: float = 0, tilt: float = 0) -> Mask:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    turn = np.deg2rad(tilt)
    u, v = rx * np.cos(angle), ry * np.sin(angle)
    ring = np.stack(
        [x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)], 1
    )
    return fill(ring, blur, smooth=False)


def stroke(
    points: Points, width: float, blur: float = 0, ends: tuple[float, float] = (0, 0)
) -> Mask:
    """A line `width` thick in its middle, `ends` (shares of it) at its two tips."""
    line = curve(points)
    along = np.linspace(0, 1, len(line))
    body = np.sin(np.pi * along) ** 0.7
    tip = ends[0] * (1 - along) + ends[1] * along
    half = width / 2 * (tip + (1 - tip) * body)
    direction = np.gradient(line, axis=0)
    normal = np.stack([-direction[:, 1], direction[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    edge = np.vstack([line + normal * half[:, None], (line - normal * half[:, None])[::-1]])
    return fill(edge, blur, smooth=False)


def strands(
    left: Points, right: Points, count: int, width: tuple[float, float], seed: int, reach: float = 1
) -> Mask:
    """Fine hairs that run between two guide curves, from thin to thin, of random strength."""
    random = np.random.default_rng(seed)
    a, b = curve(left), curve(right)
    m = min(len(a), len(b))
    a = a[np.linspace(0, len(a) - 1, m).astype(int)]
    b = b[np.linspace(0, len(b) - 1, m).astype(int)]
    out = np.zeros((SIZE * SCALE, SIZE * SCALE), np.uint8)
    for _ in range(count):
        place = random.uniform(0, 1)
        drift = random.normal(0, 0.03)
        along = np.linspace(0, 1, m)[:, None]
        mix = np.clip(place + drift * along, 0, 1)
        line = a * (1 - mix) + b * mix
        start = random.uniform(0, 0.5 * reach)
        stop = start + random.uniform(0.35, 1.0 - start)
        line = line[int(start * m) : max(int(stop * m), int(start * m) + 4)]
        thick = max(1, round(random.uniform(*width) * SCALE))
        level = int(255 * random.uniform(0.25, 1))
        cv2.polylines(out, [_fixed(line)], False, level, thick, cv2.LINE_AA, 4)
    return out.astype(np.float32) / 255


def ramp(start: tuple[float, float], stop: tuple[float, float]) -> Mask:
    """0 at `start`, 1 at `stop`, smooth in between and level beyond."""
    ys, xs = np.mgrid[0 : SIZE * SCALE, 0 : SIZE * SCALE].astype(np.float32) / SCALE
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    t = ((xs - start[0]) * dx + (ys - start[1]) * dy) / (dx * dx + dy * dy)
    t = np.clip(t, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


class Layer:
    """Premultiplied BGR and its opacity."""

    def __init__(self) -> None:
        self.bgr = np.zeros((SIZE * SCALE, SIZE * SCALE, 3), np.float32)
        self.alpha = blank()

    def paint(self, mask: Mask, code: str, strength: float = 1, inside: Mask | None = None) -> None:
        """Lay a colour over what is there, where `mask` (and `inside`) let it through."""
        cover = mask * strength if inside is None else mask * inside * strength
        x, y, w, h = cv2.boundingRect((cover > 0.001).astype(np.uint8))
        part = (slice(y, y + h), slice(x, x + w))
        keep = 1 - cover[part]
        self.bgr[part] *= keep[..., None]
        self.bgr[part] += cover[part][..., None] * colour(code)
        self.alpha[part] = self.alpha[part] * keep + cover[part]

    def bytes(self) -> NDArray[np.uint8]:
        """(h, w, 4) premultiplied, ready to be moved about."""
        return np.round(np.dstack([self.bgr, self.alpha]) * 255).astype(np.uint8)
