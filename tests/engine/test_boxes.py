"""The face box where the landmarks make none."""

from __future__ import annotations

import numpy as np
import pytest

from engine.musetalk.boxes import MASK_LINE, face_boxes

DETECTED = np.array([[10, 20, 110, 140]])


def landmarks() -> np.ndarray:
    """(1, 68, 2) spread over 100 … 200."""
    points = np.stack([np.linspace(100, 200, 68), np.linspace(100, 200, 68)], axis=1)
    points[MASK_LINE, 1] = 160
    return points[None]


def test_a_box_reaches_as_far_above_the_mask_line_as_below() -> None:
    assert face_boxes(landmarks(), DETECTED, 0).tolist() == [[100, 120, 200, 200]]


def test_points_on_one_vertical_line_make_no_box() -> None:
    points = landmarks()
    points[..., 0] = 150.7  # whole pixels count
    assert face_boxes(points, DETECTED, 0).tolist() == DETECTED.tolist()


@pytest.mark.parametrize("shift", [0, 5])
def test_a_mask_line_at_the_chin_or_below_makes_no_box(shift: int) -> None:
    points = landmarks()
    points[..., 1] = 150
    assert face_boxes(points, DETECTED, shift).tolist() == DETECTED.tolist()


def test_points_that_leave_the_frame_at_the_left_make_no_box() -> None:
    points = landmarks()
    points[..., 0] -= 101
    assert face_boxes(points, DETECTED, 0).tolist() == DETECTED.tolist()


def test_without_a_detected_face_there_is_none() -> None:
    nobody = np.full((1, 4), -1)
    assert face_boxes(landmarks(), nobody, 0).tolist() == [[0, 0, 0, 0]]
