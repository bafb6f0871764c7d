"""Finds the mouth: the dark line between the lips, near its usual place in the face."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.media.video import Bgr
from engine.prepare.faces import smoothed

FACE_WIDTH = 160  # pixels to which the face is scaled for the search

# In widths and heights of the face box: what is searched, and where a mouth is expected.
SEARCH = (0.16, 0.60, 0.84, 0.93)
EXPECTED = (0.5, 0.765)
SPREAD = (0.07, 0.06)
LINE = 0.16  # width of the line that is looked for: the middle of the lips
HALF_WIDTH = (0.13, 0.21, 0.28)  # least, expected, most

SMOOTH_FRAMES = 2.0


class MouthFinder:
    """Collects where the mouth may be, frame by frame."""

    def __init__(self) -> None:
        self._found: list[NDArray[np.float64]] = []

    def add(self, frame: Bgr, box: NDArray[np.float64]) -> None:
        """Look at the next frame, whose face box is x1, y1, x2, y2."""
        self._found.append(find_mouth(frame, box))

    def mouths(self) -> NDArray[np.float32]:
        """(n, 4) centre x, y, half width in pixels, tilt in radians: smooth over time."""
        found = np.array(self._found)
        centre = [smoothed(found[:, i], SMOOTH_FRAMES) for i in (0, 1)]
        # Corners are less certain than the middle, and a mouth at rest keeps its width.
        width, tilt = (smoothed(found[:, i], 3 * SMOOTH_FRAMES) for i in (2, 3))
        return np.stack([*centre, width, tilt], axis=1).astype(np.float32)


def find_mouth(frame: Bgr, box: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) centre x, y, half width in pixels of the frame, tilt in radians (clockwise is > 0)."""
    x1, y1, x2, y2 = (float(edge) for edge in box)
    width, height = x2 - x1, y2 - y1
    left, top = round(x1 + SEARCH[0] * width), round(y1 + SEARCH[1] * height)
    right, bottom = round(x1 + SEARCH[2] * width), round(y1 + SEARCH[3] * height)
    scale = FACE_WIDTH / width
    valley, red = _features(frame[max(0, top) : bottom, max(0, left) : right], scale)
    rows, columns = valley.shape
    tall = height * scale
    middle_x = EXPECTED[0] * FACE_WIDTH - (left - x1) * scale
    middle_y = EXPECTED[1] * tall - (top - y1) * scale
    ys, xs = np.mgrid[0:rows, 0:columns]
    near = np.exp(
        -0.5 * ((xs - middle_x) / (SPREAD[0] * FACE_WIDTH)) ** 2
        - 0.5 * ((ys - middle_y) / (SPREAD[1] * tall)) ** 2
    )
    line = (round(LINE * FACE_WIDTH) | 1, 3)
    score = cv2.blur(valley + 0.5 * red, line) * near
    y, x = divmod(int(score.argmax()), columns)
    exact_y = _darkest(cv2.blur(valley, line)[:, x], y)
    x_mean, half, tilt = _corners(valley + 0.5 * red, x, round(exact_y))
    # Pixel middles: the search picture's coordinates are those of its pixels' upper left corners.
    return np.array(
        [left + x_mean / scale, top + (exact_y + 0.5) / scale - 0.5, half / scale, tilt]
    )


def _features(region: Bgr, scale: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """How much darker and redder a pixel is than those above and below it."""
    small = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    light, red, _ = cv2.split(cv2.cvtColor(small, cv2.COLOR_BGR2LAB))
    line = cv2.getStructuringElement(cv2.MORPH_RECT, (1, 13))
    lips = cv2.getStructuringElement(cv2.MORPH_RECT, (1, 35))
    valley = cv2.morphologyEx(light, cv2.MORPH_BLACKHAT, line).astype(np.float32)
    redder = cv2.morphologyEx(red, cv2.MORPH_TOPHAT, lips).astype(np.float32)
    return cv2.GaussianBlur(valley, (0, 0), 1.0), cv2.GaussianBlur(redder, (0, 0), 1.0)


def _darkest(column: NDArray[Any], y: int, reach: int = 7) -> float:
    """The darkest place near y, to a fraction of a pixel: the lips meet in the dark."""
    low = max(0, y - reach)
    window = column[low : y + reach + 1]
    best = int(window.argmax())
    if not 0 < best < len(window) - 1:
        return float(y)
    before, at, after = (float(v) for v in window[best - 1 : best + 2])
    bend = before - 2 * at + after
    return low + best + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _corners(dark: NDArray[Any], x: int, y: int) -> tuple[float, float, float]:
    """Middle and half of the width of the line through x, y, and its tilt."""
    reach = 6
    band = dark[max(0, y - reach) : y + reach + 1]
    along = cv2.GaussianBlur(band.max(axis=0)[None], (0, 0), 2.0)[0]
    least, usual, most = (round(share * FACE_WIDTH) for share in HALF_WIDTH)
    level = 0.35 * float(along[max(0, x - least) : x + least].mean())
    below = along < level
    left_gap, right_gap = below[: x + 1][::-1], below[x:]
    to_left = int(left_gap.argmax()) if left_gap.any() else usual
    to_right = int(right_gap.argmax()) if right_gap.any() else usual
    half = float(np.clip((to_left + to_right) / 2, least, most))
    middle = x + float(np.clip((to_right - to_left) / 2, -least / 2, least / 2))
    ends = [int(np.clip(middle + side * 0.7 * half, 0, dark.shape[1] - 1)) for side in (-1, 1)]
    low, high = (float(band[:, end].argmax()) for end in ends)
    tilt = float(np.arctan2(high - low, max(ends[1] - ends[0], 1)))
    return middle, half, float(np.clip(tilt, -0.3, 0.3))
