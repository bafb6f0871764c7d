"""The parity command: this installation agrees with the reference, and each check can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from engine.audio import features
from engine.audio.features import Features
from engine.models import decoder, whisper
from engine.musetalk import boxes, image, masks, mel, parsing, positional, windows
from engine.parity import checks, tiny
from engine.parity import network_checks as networks
from engine.parity import picture_checks as pictures
from engine.parity import sound_checks as sound
from engine.parity.checks import CHECKS, Check, compare
from engine.parity.vectors import BrokenVectors, Comparison, Result
from engine.picture import blend
from engine.picture import encode_latents as latents
from engine.prepare import build, settings
from engine.prepare import jaw_mask as jaw
from engine.serving.scheduler import Scheduler

VECTORS = Path(__file__).parents[1] / "fixtures" / "musetalk"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other are slower than one on a small machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_this_installation_agrees_with_the_reference(check: Check) -> None:
    assert [result for result in check(VECTORS) if not result.passed] == []


def _lone(_: object, __: float) -> int:
    return 1


def _constant(log: Any, *_: float) -> Any:
    return np.zeros_like(log)


def _shifted() -> Any:
    return [(bins, bands, np.roll(each, 1, axis=0)) for bins, bands, each in GROUPS]


GROUPS = mel._groups()

# (check, its line of the report, where the mistake is made, the mistake)
MISTAKES: list[tuple[Check, str, tuple[Any, str], Any]] = [
    (sound.audio_windows, "of a clip", (windows, "padding_positions"), lambda *_: 3),
    (sound.audio_windows, "of a clip", (windows, "POSITIONS_PER_S"), 49),
    (sound.audio_windows, "of a stream", (windows, "padding_positions"), lambda *_: 3),
    (sound.audio_windows, "of a stream", (Features, "_end"), lambda _, job: 640 * job.frame),
    (networks.device_windows, "real width", (windows, "padding_positions"), lambda *_: 3),
    (networks.device_windows, "on the device", (windows, "positions_of"), None),
    (sound.positions, "table", (positional, "BASE"), 9_990.0),
    (networks.device_places, "fp32", (positional, "BASE"), 9_990.0),
    (networks.device_places, "fp16", (positional, "BASE"), 5_000.0),
    (sound.log_mel, "log-mel", (mel, "RANGE"), 7.99),
    (sound.log_mel, "log-mel", (mel, "FLOOR"), 2e-10),
    (sound.log_mel, "log-mel", (mel, "_groups"), _shifted),
    (sound.log_mel, "of a stream", (features, "ROWS_PER_POSITION"), 3),
    (sound.log_mel, "of a stream", (features, "EDGE"), 0),
    (sound.log_mel, "of a stream", (mel, "scaled"), _constant),
    (networks.device_mel, "on the device", (tiny, "scaled"), lambda log, _: (log + 4) / 4),
    (networks.device_mel, "on the device", (torch, "maximum"), torch.minimum),
    (networks.device_places, "fp32", (whisper, "placed"), lambda heard, *_: heard.flatten(1, 2)),
    (sound.log_mel, "floor of a stream", (features, "PEAK_ROWS"), 10),
    (sound.log_mel, "floor of a stream", (features, "PEAK_ROWS"), 6000),
    (sound.log_mel, "look-ahead", (features, "STEM_REACH"), 720),
    (sound.log_mel, "look-ahead", (features, "STEM_REACH"), 480),
    (pictures.images, "to network", (image, "MASKED_FROM"), 127),
    (pictures.images, "to network", (cv2, "INTER_LANCZOS4"), cv2.INTER_CUBIC),
    (networks.device_faces, "to decoder, fp32", (decoder, "SCALING_FACTOR"), 0.18216),
    (networks.device_faces, "to decoder, fp16", (decoder, "SCALING_FACTOR"), 0.184),
    (networks.device_faces, "to image, fp32", (torch.Tensor, "round"), torch.floor),
    (networks.device_faces, "to image, fp16", (torch.Tensor, "round"), lambda x: x - 2),
    (pictures.face_boxes, "boxes", (boxes, "MASK_LINE"), 28),
    (pictures.face_boxes, "boxes", (boxes, "NO_FACE"), (0, 0, 1, 1)),
    (pictures.parser_masks, "masks", (parsing, "DILATE_FROM"), 11),
    (pictures.parser_masks, "masks", (parsing, "ERODE_STEPS"), 1),
    (pictures.parser_masks, "masks", (parsing, "MOUTH"), (11, 12)),
    (pictures.parser_masks, "masks", (parsing, "NECK"), 15),
    (pictures.parser_masks, "input", (parsing, "STD"), np.float32(0.225)),
    (pictures.blending, "squares", (boxes, "EXPAND"), 1.48),
    (pictures.blending, "masks", (masks, "UPPER_BOUNDARY"), 0.48),
    (pictures.blending, "faces", (cv2, "INTER_LINEAR"), cv2.INTER_AREA),
    (pictures.blending, "blending: frames", (blend, "HALF"), 0),
    (pictures.blending, "offline", (masks, "BLUR_OFFLINE"), 0.1),
    (pictures.cycle, "ping-pong", (pictures, "ping_pong"), lambda k, n: k % n),
    (pictures.cycle, "batches", (Scheduler, "_room"), _lone),
    (networks.avatar_preparation, "preparation", (networks, "ping_pong"), lambda k, n: k % n),
    (networks.avatar_preparation, "preparation", (boxes, "EXPAND"), 1.48),
    (networks.avatar_preparation, "preparation", (jaw, "blend_mask"), lambda region, _: region),
    (networks.avatar_preparation, "preparation", (build, "lengthened"), lambda b, *_: b + 1),
    (networks.avatar_preparation, "preparation", (build, "lengthened"), lambda b, *_: b),
    (networks.avatar_preparation, "preparation", (settings, "EXTRA_MARGIN"), {"v15": 3}),
    (networks.avatar_preparation, "latents", (latents, "SHAPE"), (8, 32, 31)),
    (networks.tiny_end_to_end, "latents in", (latents, "SCALING_FACTOR"), 0.183),
    (networks.tiny_end_to_end, "latents out", (positional, "BASE"), 9_000.0),
    (networks.tiny_end_to_end, "pixels", (decoder, "SCALING_FACTOR"), 0.19),
]


@pytest.mark.parametrize(
    ("check", "line", "place", "mistake"),
    [pytest.param(*row, id=f"{row[1]}: {row[2][1]}") for row in MISTAKES],
)
def test_a_check_fails_when_its_code_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    check: Check,
    line: str,
    place: tuple[Any, str],
    mistake: Any,
) -> None:
    monkeypatch.setattr(*place, mistake)
    jaw._mask.cache_clear()
    try:
        found = [result for result in compare_one(check) if not result.passed]
    finally:
        jaw._mask.cache_clear()
    assert any(line in result.check or not result.check for result in found), found


def compare_one(check: Check) -> Iterator[Result]:
    """Results of a check; one that raises has failed, whatever its name."""
    try:
        yield from check(VECTORS)
    except BrokenVectors:
        raise
    except Exception as error:
        yield Result("", np.inf, 0.0, str(error))


def test_the_command_passes_and_prints_every_check() -> None:
    done = CliRunner().invoke(app, ["parity", str(VECTORS)])
    assert done.exit_code == 0, done.output
    assert "blending: frames" in done.output
    assert "32 of 32 checks passed." in done.output


def test_the_command_fails_when_a_check_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (pictures.cycle, pictures.face_boxes))
    monkeypatch.setattr(boxes, "MASK_LINE", 28)
    done = CliRunner().invoke(app, ["parity", str(VECTORS)])
    assert done.exit_code == 1
    assert "face boxes: bbox_shift" in done.output


def test_a_check_that_raises_has_failed_and_the_others_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("no boxes today")

    monkeypatch.setattr(boxes, "face_boxes", broken)
    monkeypatch.setattr(checks, "CHECKS", (pictures.face_boxes, pictures.cycle))
    found = list(compare(VECTORS))
    assert [(r.check, r.note) for r in found if not r.passed] == [
        ("face boxes", "ArithmeticError: no boxes today")
    ]
    assert found[-1].check == "batches"


def test_without_the_networks_libraries_checks_are_missing_unless_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(networks, "installed", lambda: False)
    done = CliRunner().invoke(app, ["parity", str(VECTORS)])
    assert done.exit_code == 1
    assert "make setup-all" in done.output
    allowed = CliRunner().invoke(app, ["parity", str(VECTORS), "--allow-missing"])
    assert allowed.exit_code == 0
    assert "19 of 32 checks passed." in allowed.output


def test_a_comparison_counts_what_has_no_distance_as_infinite() -> None:
    comparison = Comparison("c", allowed=1.0)
    comparison.add("equal", np.ones(3), np.ones(3))
    assert comparison.result.passed
    comparison.add("NaN", [np.nan], [1.0])
    assert comparison.result.error == np.inf
    shapes = Comparison("c", allowed=1.0)
    shapes.add("shape", np.ones(3), np.ones(4))
    assert not shapes.result.passed
