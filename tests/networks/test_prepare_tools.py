"""Landmarks and face parser through ONNX Runtime, on networks made for the purpose.

The published weights can't be had here. These networks are of the published shapes, and answer by
what they see: so places, colours and mirroring are checked from the picture to the persona.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.core.engine_errors import BackendUnavailable, PersonaError
from engine.models.published import LANDMARKS, PARSER
from engine.musetalk.boxes import blend_squares, lengthened
from engine.musetalk.masks import blend_mask, square_crop
from engine.musetalk.parsing import parser_mask
from engine.prepare.build import prepare
from engine.prepare.landmarks import MIRRORED, LandmarkFinder, Landmarks
from engine.prepare.parser import FaceParser
from engine.prepare.settings import PersonaSettings, parse_settings
from engine.prepare.tools import Tools, tools_in
from tests.videos import persona_frames, resized, write_video

POINTS = 133


def save(
    path: Path, nodes: list[onnx.NodeProto], shape: list[int], constants: dict[str, np.ndarray]
) -> Path:
    outputs = [n for n in ("simcc_x", "simcc_y", "scores") if any(n in x.output for x in nodes)]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def pose_network(path: Path, red: tuple[int, ...]) -> Path:
    """Keypoints of `red` lie where the picture is reddest, all others where it is greenest."""
    channel = np.ones(POINTS, np.int64)
    channel[list(red)] = 0
    nodes = [
        # Each colour's brightest pixel of a column, and of a row.
        helper.make_node("ReduceMax", ["input"], ["columns"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["input"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("Gather", ["columns", "channel"], ["across"], axis=1),
        helper.make_node("Gather", ["rows", "channel"], ["down"], axis=1),
        # Two bins a pixel; the first is the pixel's.
        helper.make_node("Unsqueeze", ["across", "last"], ["across4"]),
        helper.make_node("Unsqueeze", ["down", "last"], ["down4"]),
        helper.make_node("Mul", ["across4", "bins"], ["across_bins"]),
        helper.make_node("Mul", ["down4", "bins"], ["down_bins"]),
        helper.make_node("Reshape", ["across_bins", "x_shape"], ["simcc_x"]),
        helper.make_node("Reshape", ["down_bins", "y_shape"], ["simcc_y"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "channel": channel,
        "last": np.array([3], np.int64),
        "bins": np.array([1.0, 0.9], np.float32),
        "x_shape": np.array([1, POINTS, 576], np.int64),
        "y_shape": np.array([1, POINTS, 768], np.int64),
    }
    return save(path, nodes, [1, 3, 384, 288], constants)


def parser_network(path: Path) -> Path:
    """Red pixels are skin, green ones lips, blue ones nose; the darkest are none."""
    weight = np.zeros((19, 3, 1, 1), np.float32)
    weight[1, 0], weight[12, 1], weight[10, 2] = 1, 1, 1
    node = helper.make_node("Conv", ["input", "weight"], ["scores"])
    return save(path, [node], [1, 3, 512, 512], {"weight": weight})


def spotted(width: int, height: int, red: tuple[int, int], green: tuple[int, int]) -> np.ndarray:
    frame = np.zeros((height, width, 3), np.uint8)
    cv2.circle(frame, red, 4, (0, 0, 255), -1)
    cv2.circle(frame, green, 4, (0, 255, 0), -1)
    return frame


@pytest.mark.parametrize("size", [(640, 480), (300, 500), (288, 384)])
def test_points_are_found_where_they_are_in_the_frame(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    # The chin, keypoint 8 of the face, is its own mirror image.
    landmarks = Landmarks(pose_network(tmp_path / "pose.onnx", red=(23 + 8,)))
    points, score = landmarks(spotted(*size, red=(100, 300), green=(200, 150)))
    pixel = 1.25 * max(size[0] / 288, size[1] / 384)  # of the network, in the frame
    assert np.abs(points[8] - (100, 300)).max() < 3 + 2 * pixel
    assert np.abs(np.delete(points, 8, axis=0) - (200, 150)).max() < 3 + 2 * pixel
    assert score > 1


def test_the_mirrored_face_has_its_sides_exchanged() -> None:
    assert sorted(MIRRORED) == list(range(68))
    assert np.array_equal(MIRRORED[MIRRORED], np.arange(68))
    assert MIRRORED[[0, 17, 33, 36, 39, 48, 60]].tolist() == [16, 26, 33, 45, 42, 54, 64]


def face(shift: int = 0) -> np.ndarray:
    """Chin in red; brows and all else in green, at the left and above."""
    return spotted(400, 400, red=(250, 300), green=(150 + shift, 180))


def test_boxes_are_upstreams_and_not_smoothed_unless_asked_for(tmp_path: Path) -> None:
    landmarks = Landmarks(pose_network(tmp_path / "pose.onnx", red=(23 + 8,)))
    jumps = [0, 12, 0, 12, 0, 12]
    finders = [LandmarkFinder(landmarks, "ada.mp4", 0.0, smooth=smooth) for smooth in (False, True)]
    for finder in finders:
        for shift in jumps:
            finder.add(face(shift))
    tracks = [finder.boxes()[:, 0] for finder in finders]
    assert np.ptp(tracks[0]) >= 10
    assert np.ptp(tracks[1]) < 0.7 * np.ptp(tracks[0])
    # The middle of the box is landmark 29's height, its bottom the chin.
    _, top, _, bottom = finders[-1].boxes()[0]
    assert abs((top + bottom) / 2 - 180) < 6
    assert abs(bottom - 300) < 6


def test_a_frame_without_a_face_is_filled_in_and_many_are_refused(tmp_path: Path) -> None:
    landmarks = Landmarks(pose_network(tmp_path / "pose.onnx", red=(23 + 8,)))
    finder = LandmarkFinder(landmarks, "ada.mp4", 0.0, smooth=False)
    nobody = np.zeros((400, 400, 3), np.uint8)
    for frame in (face(), nobody, face()):
        finder.add(frame)
    assert finder.filled == 1
    assert np.array_equal(finder.boxes()[1], finder.boxes()[0])
    with pytest.raises(PersonaError, match="frames 3 to 13"):
        for _ in range(11):
            finder.add(nobody)


def test_the_parser_sees_colours_as_upstream_gives_them(tmp_path: Path) -> None:
    parser = FaceParser(parser_network(tmp_path / "parser.onnx"))
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[:, :64] = (0, 0, 255)  # BGR: red, skin
    picture[64:, 64:] = (0, 255, 0)  # green, lip
    classes = parser.classes(picture)
    assert classes.shape == (512, 512)
    assert classes[256, 100] == 1
    assert classes[400, 400] == 12


def test_a_mask_follows_the_parser_and_the_settings(tmp_path: Path) -> None:
    parser = FaceParser(parser_network(tmp_path / "parser.onnx"))
    frame = np.zeros((300, 300, 3), np.uint8)
    cv2.ellipse(frame, (150, 170), (45, 60), 0, 0, 360, (0, 0, 255), -1)
    box = np.array([100, 110, 200, 250], np.int32)
    classes = parser.classes(square_crop(frame, blend_squares(box[None])[0].tolist()))
    masks = []
    for keys in ({}, {"parsing_mode": "raw"}, {"left_cheek_width": 200, "right_cheek_width": 200}):
        settings = parse_settings("ada", {"video_path": "ada.mp4", **keys})
        region = parser_mask(
            classes,
            settings.parsing,
            settings.left_cheek_width,
            settings.right_cheek_width,
        )
        masks.append(parser.mask(frame, box, settings))
        assert np.array_equal(masks[-1], blend_mask(region, box.tolist()))
    jaw, raw, wide = masks
    assert not np.array_equal(jaw, raw)
    assert not np.array_equal(jaw, wide)


def test_networks_are_used_where_they_lie_and_said_in_the_manifest(tmp_path: Path) -> None:
    assert tools_in(tmp_path) == Tools()
    assert Tools().names == {"faces": "haar", "mask": "geometric"}
    parser_network(tmp_path / PARSER.local)
    half = tools_in(tmp_path)
    assert half.names["faces"] == "haar"
    assert half.names["mask"].startswith("bisenet ")
    pose_network(tmp_path / LANDMARKS.local, red=(23 + 8,))
    assert tools_in(tmp_path).names["faces"].startswith("dwpose ")


def test_a_persona_is_prepared_with_the_networks(tmp_path: Path) -> None:
    frames = [resized(face(), 256) for _ in range(30)]
    video = write_video(tmp_path / "ada.mp4", frames)
    models = tmp_path / "models"
    pose_network(models / LANDMARKS.local, red=(23 + 8,))
    parser_network(models / PARSER.local)
    settings = PersonaSettings("ada.mp4", extra_margin=10)
    seen: list[float] = []
    made = prepare("ada", settings, video, tmp_path / "cache", None, seen.append, tools_in(models))
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["faces"].startswith("dwpose ")
    assert manifest["mask"].startswith("bisenet ")
    scale = 256 / 400
    assert abs(made.boxes[0, 3] - (300 * scale + 10)) < 6  # the chin, and the margin below it
    parser = FaceParser(models / PARSER.local)
    assert np.array_equal(made.masks[3], parser.mask(made.frames[3], made.boxes[3], settings))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_other_tools_make_another_persona(tmp_path: Path) -> None:
    video = write_video(tmp_path / "ada.mp4", persona_frames())
    parser_network(tmp_path / "models" / PARSER.local)
    settings = PersonaSettings("ada.mp4")
    plain = prepare("ada", settings, video, tmp_path / "cache")
    parsed = prepare(
        "ada", settings, video, tmp_path / "cache", tools=tools_in(tmp_path / "models")
    )
    assert plain.folder != parsed.folder
    assert np.array_equal(plain.boxes, parsed.boxes)


@pytest.mark.parametrize("network", ["truncated", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, network: str) -> None:
    path = tmp_path / "network.onnx"
    if network == "other":
        pose_network(path, red=())
    else:
        path.write_bytes(parser_network(path).read_bytes()[:200])
    with pytest.raises(BackendUnavailable, match=r"network\.onnx"):
        FaceParser(path)


def test_the_margin_is_below_the_chin() -> None:
    assert lengthened(np.array([[1, 2, 3, 4]], np.int32), 10, 12).tolist() == [[1, 2, 3, 12]]
