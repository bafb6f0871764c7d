"""Where face and mouth are found, and what is said where they are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engine.core.engine_errors import PersonaError
from engine.prepare.faces import FaceFinder, smoothed
from engine.prepare.mouth import MouthFinder, find_mouth
from tests.videos import Bgr, persona_frames

# Of the default persona's first frame at 256 x 256, read off the picture.
MOUTH = (129.5, 162.0)
CHIN = 189.0
FACE_SIDES = (81.0, 180.0)
BLANK = np.full((256, 256, 3), 128, np.uint8)


def _found(frames: list[Bgr]) -> FaceFinder:
    finder = FaceFinder("a.mp4")
    for frame in frames:
        finder.add(frame)
    return finder


def _moved(frame: Bgr, dx: float, dy: float, turn: float = 0.0, light: float = 1.0) -> Bgr:
    matrix = cv2.getRotationMatrix2D((128, 140), turn, 1.0)
    matrix[:, 2] += np.array((dx, dy))
    moved = cv2.warpAffine(frame, matrix, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.clip(moved * light, 0, 255), np.uint8)


def test_the_box_holds_the_face_from_ear_to_ear_down_to_the_chin() -> None:
    boxes = _found(list(persona_frames(8))).boxes()
    x1, y1, x2, y2 = boxes[4]
    assert x1 == pytest.approx(FACE_SIDES[0], abs=8)
    assert x2 == pytest.approx(FACE_SIDES[1], abs=8)
    assert y2 == pytest.approx(CHIN, abs=5)
    assert 126 < (y1 + y2) / 2 < 148  # the painted half begins on the nose


@pytest.mark.parametrize(
    ("dx", "dy", "turn", "light"),
    [(0, 0, 0, 1.0), (25, 10, 0, 1.0), (-20, 0, 6, 1.0), (0, 8, -6, 0.6), (5, 5, 0, 1.25)],
)
def test_the_mouth_is_found_within_three_pixels(
    dx: float, dy: float, turn: float, light: float
) -> None:
    frame = _moved(persona_frames(8)[0], dx, dy, turn, light)
    box = _found([frame] * 3).boxes()[1]
    x, y, half, tilt = find_mouth(frame, box)
    matrix = cv2.getRotationMatrix2D((128, 140), turn, 1.0)
    expected = matrix @ (*MOUTH, 1.0) + (dx, dy)
    assert (x, y) == pytest.approx(tuple(expected), abs=3)
    assert half == pytest.approx(19, abs=4)
    assert tilt == pytest.approx(np.radians(-turn), abs=0.09)


def test_a_grey_picture_has_its_mouth_in_the_same_place() -> None:
    colour = persona_frames(8)[0]
    one = np.asarray(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY), np.uint8)
    grey = np.repeat(one[..., None], 3, axis=2)
    box = _found([colour] * 3).boxes()[1]
    assert find_mouth(grey, box)[:2] == pytest.approx(find_mouth(colour, box)[:2], abs=2)


def test_boxes_and_mouths_follow_the_head_without_jitter() -> None:
    still = persona_frames(8)[0]
    path = 10 * np.sin(np.arange(60) / 60 * 2 * np.pi)
    frames = [_moved(still, dx, 0) for dx in path]
    finder, mouth = _found(frames), MouthFinder()
    boxes = finder.boxes()
    for frame, box in zip(frames, boxes, strict=True):
        mouth.add(frame, box)
    middles = (boxes[:, 0] + boxes[:, 2]) / 2
    assert np.abs(middles - middles.mean() - path).max() < 3
    mouths = mouth.mouths()
    assert np.abs(mouths[:, 0] - MOUTH[0] - path).max() < 2
    # Twice the acceleration of the head's own movement, and no more.
    assert np.abs(np.diff(mouths[:, 0], 2)).max() < 2 * np.abs(np.diff(path, 2)).max() + 0.1
    assert np.ptp(mouths[:, 1]) < 1


def test_a_short_gap_is_bridged() -> None:
    frames = list(persona_frames(30))
    whole = _found(frames).boxes()
    gap = _found([BLANK if 8 <= i < 18 else frame for i, frame in enumerate(frames)])
    assert gap.filled == 10
    assert np.abs(gap.boxes() - whole).max() < 3


def test_a_long_gap_is_refused_with_its_frames() -> None:
    frames = [BLANK if 8 <= i < 19 else frame for i, frame in enumerate(persona_frames(30))]
    with pytest.raises(PersonaError, match=r"No face was found in frames 8 to 18 of a\.mp4"):
        _found(frames)


def test_a_few_frames_without_any_face_are_refused() -> None:
    with pytest.raises(PersonaError, match="No face was found in frames 0 to 2"):
        _found([BLANK] * 3).boxes()


def test_a_face_cut_by_the_edge_is_refused_with_its_side() -> None:
    cut = persona_frames(8)[0][:170]  # through the chin
    with pytest.raises(PersonaError, match=r"frame 0 of a\.mp4 is cut off at the bottom edge"):
        _found([cut])


def test_a_face_too_small_is_refused_with_its_size() -> None:
    tiny = cv2.resize(persona_frames(8)[0], (120, 120), interpolation=cv2.INTER_AREA)
    frame = np.asarray(cv2.copyMakeBorder(tiny, 136, 0, 136, 0, cv2.BORDER_REPLICATE), np.uint8)
    with pytest.raises(PersonaError, match=r"too small: 5\d pixels high, at least 64"):
        _found([frame])


def test_smoothing_drops_an_outlier_and_keeps_a_slope() -> None:
    line = np.arange(50, dtype=float)
    spoiled = line.copy()
    spoiled[20] = 500
    assert np.abs(smoothed(spoiled)[3:-3] - line[3:-3]).max() < 0.6
    assert len(smoothed(line[:3])) == 3


def test_two_videos_can_be_searched_at_once() -> None:
    """Every finder has a cascade of its own: OpenCV's may not be shared by threads."""
    first, second = FaceFinder("a.mp4"), FaceFinder("b.mp4")
    assert first._cascade is not second._cascade
