"""What a persona's block may say."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.engine_errors import PersonaError
from engine.prepare.settings import parse_settings


def test_what_is_not_said_has_a_usual_value() -> None:
    settings = parse_settings("ada", {"video_path": "ada/ada.mp4"})
    assert settings.display_name == "ada"
    assert (settings.bbox_shift, settings.face_box, settings.engine) == (0.0, None, "auto")
    assert (settings.margin, settings.parsing) == (10, "jaw")


@pytest.mark.parametrize(
    ("block", "v15", "v1"),
    [
        ({}, (10, "jaw"), (0, "raw")),
        ({"extra_margin": 4}, (4, "jaw"), (4, "raw")),
        ({"parsing_mode": "neck"}, (10, "neck"), (0, "neck")),
    ],
)
def test_the_version_of_musetalk_decides_what_is_not_set(
    block: dict[str, Any], v15: tuple[int, str], v1: tuple[int, str]
) -> None:
    for version, expected in (("v15", v15), ("v1", v1)):
        settings = parse_settings("ada", {"video_path": "a.mp4", **block}, version)
        assert (settings.margin, settings.parsing) == expected


def test_only_what_differs_between_versions_makes_another_persona() -> None:
    def prepared_with(version: str, **keys: Any) -> dict[str, Any]:
        return parse_settings("ada", {"video_path": "a.mp4", **keys}, version).prepared_with()

    assert prepared_with("v15") != prepared_with("v1")
    both_set = {"extra_margin": 10, "parsing_mode": "jaw"}
    assert prepared_with("v15") == prepared_with("v1", **both_set)
    assert {key: prepared_with("v15")[key] for key in both_set} == both_set
    assert "version" not in prepared_with("v15")


def test_every_key_is_taken() -> None:
    block = {
        "display_name": "Ada",
        "video_path": "a.mp4",
        "inference_config": "realtime.yaml",
        "bbox_shift": -7,
        "face_box": [1, 2, 30, 40],
        "engine": "warp",
        "extra_margin": 0,
        "parsing_mode": "raw",
        "left_cheek_width": 80,
        "right_cheek_width": 70,
    }
    settings = parse_settings("ada", block)
    taken = {key: getattr(settings, key) for key in block}
    assert taken == {**block, "face_box": (1, 2, 30, 40)}


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (None, "write its settings as keys"),
        ({}, "video_path is missing"),
        ({"video_path": ""}, "video_path is missing"),
        ({"video_path": "a", "bbox_shfit": 3}, "unknown key bbox_shfit. Known are video_path"),
        ({"video_path": "a", "bbox_shift": "3"}, "bbox_shift must be a number, not '3'"),
        ({"video_path": "a", "bbox_shift": True}, "bbox_shift must be a number, not True"),
        ({"video_path": "a", "bbox_shift": float("nan")}, "bbox_shift must be a number"),
        ({"video_path": "a", "face_box": [1, 2, 3]}, "face_box must be four numbers"),
        ({"video_path": "a", "face_box": [9, 2, 3, 4]}, "face_box must go from its upper left"),
        ({"video_path": "a", "face_box": [-1, 2, 3, 4]}, "face_box must be a whole number"),
        ({"video_path": "a", "engine": "gpu"}, "engine must be one of auto, warp, torch"),
        ({"video_path": "a", "extra_margin": 1.5}, "extra_margin must be a whole number"),
        ({"video_path": ["a"]}, "video_path must be text"),
    ],
)
def test_what_is_wrong_is_named(block: Any, words: str) -> None:
    with pytest.raises(PersonaError) as caught:
        parse_settings("ada", block)
    assert str(caught.value).startswith("Persona ada: ")
    assert words in str(caught.value)
