"""Other vectors than the repository's: damaged, incomplete, and of other sizes and sounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli import app
from engine.musetalk import boxes, mel
from engine.parity import checks
from engine.parity import network_checks as networks
from engine.parity import picture_checks as pictures
from engine.parity import sound_checks as sound
from engine.parity.vectors import BrokenVectors, Vectors
from tests.engine.whole import clip_tokens

VECTORS = Path(__file__).parents[1] / "fixtures" / "musetalk"


def truncate(folder: Path) -> None:
    path = folder / "g_logmel.npz"
    path.write_bytes(path.read_bytes()[:1000])


def forget_an_array(folder: Path) -> None:
    arrays = dict(np.load(folder / "g_logmel.npz"))
    del arrays["wav"]
    np.savez(folder / "g_logmel.npz", **arrays)


def remove(folder: Path) -> None:
    (folder / "f_bbox.npz").unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [(truncate, "g_logmel.npz"), (forget_an_array, "'wav'"), (remove, "f_bbox.npz is missing")],
)
def test_damaged_vectors_are_named_and_hide_no_other_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], named: str
) -> None:
    folder = tmp_path / "vectors"
    folder.mkdir()
    for path in VECTORS.glob("*.npz"):
        (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    few = sound.log_mel, pictures.face_boxes, pictures.cycle
    monkeypatch.setattr(checks, "CHECKS", few)
    done = CliRunner().invoke(app, ["parity", str(folder)])
    assert done.exit_code == 1
    assert named in done.output
    assert "ping-pong cycle" in done.output


def test_a_folder_without_vectors_is_none(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["parity", str(tmp_path)])
    assert done.exit_code == 2
    assert "is missing: a folder of vectors has this file" in done.output


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["parity", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "is not a folder" in done.output


@pytest.mark.usefixtures("one_torch_thread")
def test_vectors_of_other_sizes_are_read(tmp_path: Path) -> None:
    """Only the format counts: other lengths, names of boxes, numbers of frames."""
    states = sound.marked(np.arange(4000 // 320))
    np.savez(
        tmp_path / "a_audio_chunks.npz",
        prompt_n4000_fps25=clip_tokens(states, 4000),
        full_hidden_first7=np.ones((5, 7, 16), np.float32),
        full_prompt_n1920_fps25=clip_tokens(np.ones((6, 5, 16), np.float32), 1920),
        failures=np.array([[640, 1]]),
    )
    np.savez(tmp_path / "e_mirror_cycle.npz", cycle_N3=[0, 1, 2, 2, 1], batches_N3=[2, 2, 1])
    wav = np.load(VECTORS / "g_logmel.npz")["wav"][:2000]
    heard = mel.log_mel(wav)
    np.savez(
        tmp_path / "g_logmel.npz",
        wav=wav,
        mel_shape=(1, 80, 3000),
        mel_first20=heard[:, :20],
        mel_tail_value=heard[:, -1],
        quiet_mel_first30=mel.log_mel(wav * np.float32(0.05))[:, :30],
        all_zero_value=[-1.5, -1.5],
    )
    for check in (sound.audio_windows, sound.log_mel, pictures.cycle, networks.device_windows):
        assert [result for result in check(tmp_path) if not result.passed] == []


def test_a_face_may_leave_the_frame(tmp_path: Path) -> None:
    given = np.load(VECTORS / "d_blending.npz")
    frame, face = given["frame_bgr"], given["res256_bgr"]
    height, width = frame.shape[:2]
    box = (width - 60, height - 70, width + 20, height + 10)
    resized = cv2.resize(face, (80, 80))
    arrays = {"frame_bgr": frame, "res256_bgr": face, "out_box": box, "out_face_resized": resized}
    np.savez(tmp_path / "d_blending.npz", **arrays)
    (tmp_path / "d_parsing.npz").symlink_to(VECTORS / "d_parsing.npz")
    assert [each for each in pictures.blending(tmp_path) if not each.passed] == []


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("version", ["v15", "v1"])
def test_an_avatar_may_have_a_small_face(tmp_path: Path, version: str) -> None:
    """What a persona's face needs to look well is nothing that upstream asks for."""
    half = np.array([(0, 0, 31, 28), (5, 3, 14, 12)])
    coords = np.concatenate([half, half[::-1]])
    np.savez(
        tmp_path / "h_avatar_prepare.npz",
        info=json.dumps({"version": version}),
        coords=coords,
        mask_coords=boxes.blend_squares(coords),
        latent_shapes=[(1, 8, 32, 32)] * 4,
    )
    for name in ("c_tiny_end_to_end", "c_image_pre_post"):
        (tmp_path / f"{name}.npz").symlink_to(VECTORS / f"{name}.npz")
    assert [each for each in networks.avatar_preparation(tmp_path) if not each.passed] == []


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("samples", [9280, 18_560])
def test_windows_of_clips_that_the_reference_counts_a_part_less_in_are_the_same(
    tmp_path: Path, samples: int
) -> None:
    tokens = clip_tokens(sound.marked(np.arange(samples // 320)), samples)
    wide = {
        "full_hidden_first6": np.ones((5, 6, 8)),
        "full_prompt_n1920_fps25": np.ones((3, 50, 8)),
    }
    arrays: dict[str, Any] = {f"prompt_n{samples}_fps25": tokens, **wide}
    np.savez(tmp_path / "a_audio_chunks.npz", **arrays)
    found = [*sound.audio_windows(tmp_path), *networks.device_windows(tmp_path)][:3]
    assert [result for result in found if not result.passed] == []


def test_zeros_before_a_very_short_clip_are_no_more_than_its_positions(tmp_path: Path) -> None:
    """§1.5: the reference takes its zeros as slices of the features."""
    states = sound.marked(np.arange(6))
    padded = np.concatenate([np.zeros_like(states), states, np.zeros_like(states)])
    tokens = padded[:10].reshape(1, 50, 2)
    np.savez(tmp_path / "a_audio_chunks.npz", prompt_n1920_fps15=tokens)
    assert all(result.passed for result in sound.audio_windows(tmp_path))


@pytest.mark.parametrize(
    ("samples", "peak"),
    [(120_000, 0.3), (16_000, 0.015), (16_000, 0.0), (16_000, 2.0), (400, 0.3), (478_000, 0.5)],
)
def test_log_mel_of_a_stream_is_right_whatever_the_sound(
    tmp_path: Path, samples: int, peak: float
) -> None:
    """Longer than the usual left context, quiet, above full scale, shorter than a picture."""
    random = np.random.default_rng(samples)
    wave = random.normal(size=samples) * np.sin(np.arange(samples) / 900) ** 2
    wave = (wave * peak / np.abs(wave).max()).astype(np.float32)
    save_sound(tmp_path, wave)
    streamed = sound.streamed_mel(Vectors(tmp_path, "g_logmel"), "mel", lambda heard: heard.mels)
    assert streamed.passed, streamed


@pytest.mark.parametrize("gain", [1.02, 0.98])
def test_log_mel_of_a_stream_is_held_to_the_vectors(tmp_path: Path, gain: float) -> None:
    """Rounding to 16 bits does not explain a louder sound."""
    wave = np.load(VECTORS / "g_logmel.npz")["wav"]
    save_sound(tmp_path, wave, mel.log_mel(wave * gain))
    streamed = sound.streamed_mel(Vectors(tmp_path, "g_logmel"), "mel", lambda heard: heard.mels)
    assert not streamed.passed


def save_sound(folder: Path, wave: np.ndarray, heard: np.ndarray | None = None) -> None:
    """Vectors of a stream's log-mel."""
    heard = mel.log_mel(wave) if heard is None else heard
    first = heard[:, : len(wave) // mel.HOP + 6]
    np.savez(folder / "g_logmel.npz", wav=wave, mel_shape=(1, 80, 3000), mel_first=first)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "f_bbox.npz", landmarks68=np.array([{}], object))
    with pytest.raises(BrokenVectors, match="cannot be read"):
        Vectors(tmp_path, "f_bbox")
