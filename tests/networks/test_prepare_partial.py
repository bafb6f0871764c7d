"""A preparation that is broken off goes on where it was, and comes to the same persona."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.engine_errors import PersonaError
from engine.core.persona import Persona
from engine.models.published import LANDMARKS, PARSER
from engine.prepare.build import prepare
from engine.prepare.faces import FaceFinder
from engine.prepare.landmarks import Landmarks
from engine.prepare.parser import FaceParser
from engine.prepare.partial import CHECKSUM, PARTIAL, partial_work
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import tools_in
from tests.networks.test_prepare_tools import face, parser_network, pose_network
from tests.videos import persona_frames, resized, write_video

FRAMES = 30
SETTINGS = PersonaSettings("ada.mp4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video and networks, and a persona that nobody broke off."""
    folder = tmp_path_factory.mktemp("made")
    frames = [resized(face(shift), 256) for shift in range(FRAMES)]
    write_video(folder / "ada.mp4", frames)
    pose_network(folder / "models" / LANDMARKS.local, red=(23 + 8,))
    parser_network(folder / "models" / PARSER.local)
    work(folder, folder / "cache")
    return folder


@pytest.fixture(scope="module")
def broken_off(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with almost all of the work on the persona."""
    cache = tmp_path_factory.mktemp("broken") / "cache"
    with pytest.raises(KeyboardInterrupt):
        work(made, cache, stop_at(0.95))
    return cache


def work(made: Path, cache: Path, progress: Callable[[float], None] | None = None) -> Persona:
    tools = tools_in(made / "models")
    return prepare("ada", SETTINGS, made / "ada.mp4", cache, None, progress, tools)


def stop_at(share: float) -> Callable[[float], None]:
    def progress(done: float) -> None:
        if done >= share:
            raise KeyboardInterrupt

    return progress


class Counted:
    """How often something is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.calls = 0
        real = getattr(owner, name)

        def called(*args: Any) -> Any:
            self.calls += 1
            return real(*args)

        monkeypatch.setattr(owner, name, called)


def assert_same(ours: Persona, theirs: Persona) -> None:
    for name in ("boxes", "crops", "mouths", "frames"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert all(np.array_equal(a, b) for a, b in zip(ours.masks, theirs.masks, strict=True))


@pytest.mark.parametrize(("share", "faces", "masks"), [(0.4, 10, FRAMES), (0.95, 0, 7)])
def test_what_was_found_is_not_looked_for_again(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    faces: int,
    masks: int,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(made, tmp_path, stop_at(share))
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(PARTIAL)
    looked = Counted(monkeypatch, Landmarks, "__call__")
    parsed = Counted(monkeypatch, FaceParser, "mask")
    again = work(made, tmp_path)
    assert abs(looked.calls - faces) <= 1
    assert abs(parsed.calls - masks) <= 1
    assert_same(again, work(made, made / "cache"))
    assert [folder.name for folder in tmp_path.iterdir()] == [again.key]


def torn(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 5)


def spoilt(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def never_written(file: Path) -> None:
    size = file.stat().st_size
    os.truncate(file, size // 2)
    os.truncate(file, size)


@pytest.mark.parametrize("damage", [torn, spoilt, never_written])
@pytest.mark.parametrize("name", ["faces", "masks"])
def test_damaged_records_are_made_anew(
    made: Path, broken_off: Path, tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(broken_off, cache)
    (left,) = cache.iterdir()
    damage(left / name)
    assert_same(work(made, cache), work(made, made / "cache"))


def test_the_cascade_goes_on_as_if_it_had_seen_all(tmp_path: Path) -> None:
    """It looks for a face near the last one."""
    frames = persona_frames()[:12]
    whole, first, second = (FaceFinder("ada.mp4") for _ in range(3))
    for place, frame in enumerate(frames):
        whole.add(frame)
        if place < 6:
            first.add(frame)
            second.recall(np.frombuffer(first.latest.tobytes()))
        else:
            second.add(frame)
    assert np.array_equal(whole.boxes(), second.boxes())


def test_frames_without_a_face_are_remembered_as_such() -> None:
    nobody, first, second = np.zeros((400, 400, 3), np.uint8), FaceFinder("a"), FaceFinder("a")
    for _ in range(10):
        first.add(nobody)
        second.recall(first.latest)
    assert second.filled == 10
    with pytest.raises(PersonaError, match="frames 0 to 10"):
        second.add(nobody)


def test_who_does_the_same_at_the_same_time_begins_at_the_start(tmp_path: Path) -> None:
    with partial_work(tmp_path, "k") as one, partial_work(tmp_path, "k") as other:
        one.records("faces").add(b"row")
        records = other.records("faces")
        assert records.read(3) is None
        records.add(b"own")
        (left,) = tmp_path.iterdir()
        assert (left / "faces").stat().st_size == CHECKSUM + 3
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_goes_on_with_is_swept(tmp_path: Path) -> None:
    old = tmp_path / f"{PARTIAL}old"
    old.mkdir()
    weeks_ago = time.time() - 14 * 86_400
    os.utime(old, (weeks_ago, weeks_ago))
    with partial_work(tmp_path, "k"):
        assert not old.exists()
