"""From a video to the folder that sessions map."""

from __future__ import annotations

import gc
import json
import os
import resource
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.core.engine_errors import PersonaError, StorageFault
from engine.core.persona import Persona, load, ping_pong
from engine.musetalk.boxes import blend_squares
from engine.prepare.build import prepare
from engine.prepare.cache import UNFINISHED, make_room
from engine.prepare.settings import PersonaSettings, parse_settings
from tests.videos import persona_frames, write_video

BOX = [80, 80, 180, 190]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames, 256 x 256."""
    return write_video(tmp_path_factory.mktemp("video") / "ada.mp4", persona_frames())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def settings(**keys: Any) -> PersonaSettings:
    return parse_settings("ada", {"video_path": "ada.mp4", "display_name": "Ada", **keys})


@pytest.fixture(scope="module")
def persona(video: Path, cache: Path) -> Persona:
    return prepare("ada", settings(), video, cache)


def test_every_array_has_an_entry_a_frame(persona: Persona) -> None:
    assert (persona.name, persona.display_name) == ("ada", "Ada")
    assert persona.frames.shape == (30, 256, 256, 3)
    assert persona.pictures.shape == (30, 256 * 256 * 3 // 2)
    assert persona.boxes.shape == persona.crops.shape == persona.mouths.shape == (30, 4)
    assert np.array_equal(persona.crops, blend_squares(persona.boxes))
    sides = [(y2 - y1, x2 - x1) for x1, y1, x2, y2 in persona.crops.tolist()]
    assert [mask.shape for mask in persona.masks] == sides


def test_pictures_are_the_frames_and_can_be_handed_on(persona: Persona) -> None:
    row = persona.pictures[7]
    again = cv2.cvtColor(persona.frames[7], cv2.COLOR_BGR2YUV_I420).ravel()
    assert np.array_equal(row, again)
    assert row.flags.writeable
    assert row.flags.c_contiguous
    row[:] = 0  # copy on write: the file keeps what it had
    assert np.array_equal(load(persona.folder).pictures[7], again)


def test_the_mask_covers_the_mouth_and_ends_softly_inside_the_square(persona: Persona) -> None:
    mask, (left, top, _, _) = persona.masks[3], persona.crops[3]
    x, y, half, _ = persona.mouths[3]
    row, column = round(float(y)) - top, round(float(x)) - left
    assert mask[row, column - int(half) : column + int(half) + 1].min() > 250
    edges = [mask[0], mask[-1], mask[:, 0], mask[:, -1]]
    assert max(int(edge.max()) for edge in edges) == 0
    assert np.abs(np.diff(mask.astype(int), axis=0)).max() < 64  # no visible line


def test_the_second_time_it_is_only_mapped(video: Path, cache: Path, persona: Persona) -> None:
    told: list[float] = []
    again = prepare("other", settings(display_name="Eve"), video, cache, progress=told.append)
    assert told == []
    assert (again.key, again.name, again.display_name) == (persona.key, "other", "Eve")


def test_progress_runs_from_0_to_1(video: Path, tmp_path: Path) -> None:
    told: list[float] = []
    prepare("ada", settings(face_box=BOX), video, tmp_path, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 50


def test_what_matters_changes_the_folder(video: Path, tmp_path: Path, persona: Persona) -> None:
    shifted = prepare("ada", settings(bbox_shift=5), video, tmp_path)
    assert shifted.key != persona.key
    assert shifted.boxes[9, 1] - persona.boxes[9, 1] in (9, 10, 11)
    assert shifted.boxes[9, 3] == persona.boxes[9, 3]
    margin = prepare("ada", settings(extra_margin=0), video, tmp_path)
    assert persona.boxes[9, 3] - margin.boxes[9, 3] == 10


def test_version_1_0_has_no_margin(video: Path, tmp_path: Path) -> None:
    newest, first = (
        prepare("ada", replace(settings(face_box=BOX), version=version), video, tmp_path)
        for version in ("v15", "v1")
    )
    assert newest.boxes[9].tolist() == [*BOX[:3], BOX[3] + 10]
    assert first.boxes[9].tolist() == list(BOX)
    assert first.settings["parsing_mode"] == "raw"
    assert first.key != newest.key


def test_a_face_box_by_hand_is_taken_as_it_is(video: Path, tmp_path: Path) -> None:
    persona = prepare("ada", settings(face_box=BOX, extra_margin=0), video, tmp_path)
    assert persona.boxes.tolist() == [BOX] * 30
    assert json.loads((persona.folder / "manifest.json").read_text())["faces"] == "given"


def test_a_shift_that_leaves_no_face_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match="bbox_shift leave 0 pixels of the face"):
        prepare("ada", settings(bbox_shift=999), video, tmp_path)
    with pytest.raises(PersonaError, match="leave 4 pixels"):
        prepare("ada", settings(face_box=(60, 60, 64, 64)), video, tmp_path)


def test_another_size_is_cut_about_the_face(video: Path, tmp_path: Path, persona: Persona) -> None:
    wide = prepare("ada", settings(), video, tmp_path, size=(320, 240))
    assert (wide.width, wide.height) == (320, 240)
    own, shown = persona.boxes[5], wide.boxes[5]
    assert (shown[2] - shown[0]) / (own[2] - own[0]) == pytest.approx(320 / 256, rel=0.03)
    assert wide.mouths[5, 2] == pytest.approx(persona.mouths[5, 2] * 320 / 256, rel=0.01)
    assert shown[1] > 0
    assert shown[3] <= 240
    with pytest.raises(PersonaError, match="shown at 320x100, is cut off"):
        prepare("ada", settings(), video, tmp_path, size=(320, 100))


def test_another_rate_is_converted_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_video(tmp_path / "slow.mp4", persona_frames(15), rate=10)
    persona = prepare("ada", settings(face_box=BOX), video, tmp_path / "cache")
    assert len(persona.frames) in (37, 38)  # 1.5 s
    assert "slow.mp4 has 10 frames a second; converted to 25" in caplog.text


@pytest.mark.parametrize(("count", "words"), [(10, "is too short: 0.40 s"), (0, "does not exist")])
def test_a_refused_video_leaves_nothing(tmp_path: Path, count: int, words: str) -> None:
    video = tmp_path / "v.mp4"
    if count:
        write_video(video, persona_frames()[:count])
    with pytest.raises(PersonaError, match=words):
        prepare("ada", settings(), video, tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


def test_what_is_no_video_is_a_persona_error(tmp_path: Path) -> None:
    text = tmp_path / "v.mp4"
    text.write_text("hello")
    with pytest.raises(PersonaError, match=r"v\.mp4 cannot be read as a video"):
        prepare("ada", settings(), text, tmp_path / "cache")


def test_a_video_that_would_fill_the_disk_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match="is too long: at 20000x20000"):
        prepare("ada", settings(), video, tmp_path, size=(20_000, 20_000))


def test_a_folder_that_cannot_be_made_says_so(video: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(StorageFault, match="cannot be stored in"):
        prepare("ada", settings(), video, tmp_path / "cache")


def test_a_full_disk_says_so_and_leaves_nothing(video: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StorageFault, match="cannot be stored in"):
            prepare("ada", settings(face_box=BOX), video, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_come_to_one_folder(video: Path, tmp_path: Path) -> None:
    made: list[Persona] = []
    both_began = threading.Barrier(2)

    def work() -> None:
        waits = iter([both_began.wait])
        given = settings(face_box=BOX)

        def progress(_: float) -> None:
            for wait in waits:
                wait()

        made.append(prepare("ada", given, video, tmp_path, progress=progress))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert [folder.name for folder in tmp_path.iterdir()] == [made[0].key]
    assert np.array_equal(made[0].frames, made[1].frames)


def test_what_a_killed_process_left_is_swept(video: Path, tmp_path: Path) -> None:
    old, fresh = tmp_path / f"{UNFINISHED}old", tmp_path / f"{UNFINISHED}fresh"
    for folder in (old, fresh):
        folder.mkdir()
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    prepare("ada", settings(face_box=BOX), video, tmp_path)
    assert not old.exists()
    assert fresh.exists()


def test_sizes_that_were_asked_for_give_way_to_newer_ones(video: Path, tmp_path: Path) -> None:
    def at(*size: int) -> Persona:
        given = settings(face_box=BOX)
        return prepare("ada", given, video, tmp_path, size=(size[0], size[1]) if size else None)

    own, first = at().key, at(128, 128).key
    at(130, 130)
    assert at(128, 128).key == first
    third = at(132, 132).folder
    taken = sum(file.stat().st_size for file in third.iterdir())
    make_room(tmp_path, third, limit=2 * taken)
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {own, first, third.name}  # the second was not used for longest
    make_room(tmp_path, third, most=1)
    assert {folder.name for folder in tmp_path.iterdir()} == {own, third.name}


def test_a_size_that_is_shown_stays(video: Path, tmp_path: Path) -> None:
    shown = prepare("ada", settings(face_box=BOX), video, tmp_path, size=(128, 128))
    newest = prepare("ada", settings(face_box=BOX), video, tmp_path, size=(130, 130)).folder
    make_room(tmp_path, newest, limit=0, most=1)
    assert shown.folder.exists()
    folder = shown.folder
    del shown
    gc.collect()
    make_room(tmp_path, newest, limit=0, most=1)
    assert not folder.exists()


def test_one_personas_sizes_do_not_count_for_another(video: Path, tmp_path: Path) -> None:
    def at(side: int, **more: Any) -> Path:
        given = settings(face_box=BOX, **more)
        return prepare("ada", given, video, tmp_path, size=(side, side)).folder

    other = at(128, extra_margin=3)
    older, newest = at(128), at(130)
    make_room(tmp_path, newest, most=1)
    assert (other.exists(), older.exists(), newest.exists()) == (True, False, True)


@pytest.mark.parametrize("damage", ["manifest.json", "boxes.npy", "masks.npy"])
def test_a_damaged_folder_says_what_to_do(video: Path, tmp_path: Path, damage: str) -> None:
    persona = prepare("ada", settings(face_box=BOX), video, tmp_path)
    (persona.folder / damage).write_bytes(b"x" * 10)
    with pytest.raises(PersonaError, match=r"is damaged .* Delete that folder"):
        load(persona.folder)


def test_a_pose_never_jumps() -> None:
    seen = [ping_pong(tick, 4) for tick in range(17)]
    assert seen == [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 0]
