"""Finds the face in each frame with OpenCV's Haar cascade; fills gaps and smooths jitter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.core.engine_errors import PersonaError
from engine.core.types import FPS
from engine.media.video import Bgr

SEARCH_SIDE = 320  # pixels of the longer side that the cascade looks at: 10 ms a frame
MARGIN = 0.12  # of the picture, repeated around it, so that a face cut by the edge is seen as one
SMALLEST = 24  # pixels of the search picture
MIN_FACE = 64  # pixels of the source; 256 are painted, so smaller ones only look blurred
MAX_GAP = 10  # frames without a face between two with one that are filled in
SMOOTH_FRAMES = 4.0  # sigma: the cascade's boxes jump by pixels, a head does not

# A face from ear to ear and from the brows to the chin, in the cascade's square. Its middle is
# halfway down the nose and its bottom the chin, as MuseTalk's box from landmarks (musetalk.md §2).
FACE_IN_SQUARE = (0.09, 0.08, 0.91, 0.99)

NOWHERE = (np.nan,) * 4
LATEST_BYTES = 64  # of `FaceFinder.latest`

Box = NDArray[np.float64]  # (4,) x1, y1, x2, y2 in pixels of the source


def _new_cascade() -> cv2.CascadeClassifier:
    """A new cascade per video: threads cannot share one."""
    folder = Path(cv2.__file__).with_name("data")  # `cv2.data` in words that a type checker knows
    return cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))


class FaceFinder:
    """Follows the largest face through the frames of one video."""

    def __init__(self, video: str, bbox_shift: float = 0.0, *, smooth: bool = True) -> None:
        """`video`: its name, for messages. `bbox_shift`: musetalk.md §2, item 4."""
        self._video = video
        self._shift = bbox_shift
        self._smooth = smooth
        self._cascade = _new_cascade()
        self._boxes: list[Box | None] = []
        self._last: tuple[int, ...] | None = None  # x, y, width, height in the search picture
        self._gap = 0

    def add(self, frame: Bgr) -> None:
        """Processes the next frame. Raises PersonaError if its face is unusable or missing."""
        number = len(self._boxes)
        self._take(self._locate(frame, number))
        if self._gap > MAX_GAP:
            raise self._missing(number - self._gap + 1, number)

    def _take(self, box: Box | None) -> None:
        self._boxes.append(box)
        self._gap = self._gap + 1 if box is None else 0

    @property
    def latest(self) -> NDArray[np.float64]:
        """(8,) the state after the latest frame, for `recall`: its box, and where to look next."""
        box, last = self._boxes[-1], self._last
        return np.array([*(NOWHERE if box is None else box), *(last or NOWHERE)], np.float64)

    def recall(self, latest: NDArray[np.float64]) -> None:
        """Restores the state after the next frame, from an earlier run."""
        box, last = latest[:4], latest[4:]
        self._last = None if np.isnan(last[0]) else (*map(int, last),)
        self._take(None if np.isnan(box[0]) else box)

    def boxes(self) -> NDArray[np.float64]:
        """(n, 4) one box per frame; short gaps are interpolated."""
        known = [i for i, box in enumerate(self._boxes) if box is not None]
        if not known:
            raise self._missing(0, len(self._boxes) - 1)
        found = np.array([self._boxes[i] for i in known])
        ticks = np.arange(len(self._boxes))
        tracks = [np.interp(ticks, known, found[:, i]) for i in range(4)]
        return np.stack([smoothed(t) if self._smooth else t for t in tracks], axis=1)

    @property
    def filled(self) -> int:
        """Number of frames with an interpolated box."""
        return sum(box is None for box in self._boxes)

    def _locate(self, frame: Bgr, number: int) -> Box | None:
        """The face box of a frame, if there is a face."""
        square = self._square(frame)
        return None if square is None else self._face(square, frame, number)

    def _square(self, frame: Bgr) -> NDArray[np.float64] | None:
        """The cascade's result x, y, side in pixels of the frame."""
        height, width = frame.shape[:2]
        scale = min(1.0, SEARCH_SIDE / max(height, width))
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        pad = round(MARGIN * max(gray.shape))
        gray = cv2.copyMakeBorder(cv2.equalizeHist(gray), pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        found = self._near(gray)
        if found is None:
            found = self._anywhere(gray)
        if found is None:
            return None
        self._last = found
        x, y, side = found[0] - pad, found[1] - pad, found[2]
        return np.array([x / scale, y / scale, side / scale])

    def _anywhere(self, gray: NDArray[Any]) -> tuple[int, ...] | None:
        """The largest face, weighted by the cascade's confidence."""
        least = (SMALLEST, SMALLEST)
        found, _, sure = self._cascade.detectMultiScale3(
            gray, scaleFactor=1.1, minNeighbors=5, minSize=least, outputRejectLevels=True
        )
        pairs = zip(found, np.ravel(sure), strict=True)
        best = max(pairs, key=lambda pair: pair[0][2] * max(float(pair[1]), 0), default=None)
        return None if best is None else tuple(int(value) for value in best[0])

    def _near(self, gray: NDArray[Any]) -> tuple[int, ...] | None:
        """Searches near the last face: a tenth of the work."""
        if self._last is None:
            return None
        x, y, side, _ = self._last
        margin = side // 5
        left, top = max(0, x - margin), max(0, y - margin)
        region = gray[top : y + side + margin, left : x + side + margin]
        low, high = int(side * 0.8), int(side * 1.25)
        found = self._cascade.detectMultiScale(
            region, 1.05, 4, minSize=(low, low), maxSize=(high, high)
        )
        best = max((tuple(map(int, box)) for box in found), key=lambda b: b[2], default=None)
        return best and (best[0] + left, best[1] + top, best[2], best[3])

    def _face(self, square: NDArray[np.float64], frame: Bgr, number: int) -> Box:
        x, y, side = (float(value) for value in square)
        x1, y1, x2, y2 = (float(share) * side for share in FACE_IN_SQUARE)
        box = np.array([x + x1, y + y1 + 2 * self._shift, x + x2, y + y2])
        self._check(box, side, frame, number)
        return box

    def _check(self, box: Box, side: float, frame: Bgr, number: int) -> None:
        """Raises PersonaError if a face is too small, or exceeds the picture."""
        if side < MIN_FACE:
            raise PersonaError(
                f"The face in frame {number} of {self._video} is too small: {side:.0f} pixels "
                f"high, at least {MIN_FACE} are needed. Film closer, or in a higher resolution."
            )
        check_inside(box, frame.shape[1], frame.shape[0], f"frame {number} of {self._video}")

    def _missing(self, first: int, last: int) -> PersonaError:
        return PersonaError(
            f"No face was found in frames {first} to {last} of {self._video} "
            f"({first / FPS:.2f} to {(last + 1) / FPS:.2f} s). Show one face from the front, "
            "or say where it is with face_box."
        )


def check_inside(box: Box, width: int, height: int, where: str) -> None:
    """Raises PersonaError if a face exceeds the picture."""
    sides = {
        "left": box[0] < 0,
        "top": box[1] < 0,
        "right": box[2] > width,
        "bottom": box[3] > height,
    }
    for side, cut in sides.items():
        if cut:
            raise PersonaError(
                f"The face in {where} is cut off at the {side} edge of the picture. "
                "Leave some room around the head."
            )


def smoothed(track: NDArray[np.float64], sigma: float = SMOOTH_FRAMES) -> NDArray[np.float64]:
    """Removes outliers and jitter from a track over time, without lag."""
    reach = int(3 * sigma)
    padded = np.pad(track, 2, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    # An odd reflection keeps the slope at the ends; repeating the edge would flatten it.
    padded = (
        np.pad(middle, reach, mode="reflect", reflect_type="odd")
        if len(track) > reach
        else (np.pad(middle, reach, mode="edge"))
    )
    result: NDArray[np.float64] = np.convolve(padded, weights / weights.sum(), "valid")
    return result
