"""Prepared personas and latents that are damaged: one sentence, and nobody else suffers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.engine_errors import PersonaError
from engine.core.persona import Persona, load
from engine.picture.latents import latents_name, stored_latents
from tests.engine.drawn import drawn_persona

COUNT = 4
ROWS = np.ones((COUNT, 8, 32, 32), np.float16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared persona on disk."""
    persona = drawn_persona(COUNT)
    arrays = {
        name: getattr(persona, name) for name in ("frames", "pictures", "boxes", "crops", "mouths")
    }
    arrays["masks"] = np.concatenate([mask.ravel() for mask in persona.masks])
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    manifest = {"video": "v.mp4", "key": "k", "settings": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def empty(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / f"{name}.npy").write_bytes(b"")

    return damage


def saved(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        np.save(folder / f"{name}.npy", change(np.load(folder / f"{name}.npy")))

    return damage


def manifest(text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "manifest.json").write_text(text)

    return damage


DAMAGES = {
    "empty boxes": empty("boxes"),
    "empty frames": empty("frames"),
    "empty pictures": empty("pictures"),
    "a list as manifest": manifest("[]"),
    "settings that are none": manifest('{"video": "v", "key": "k", "settings": 3}'),
    "crops without dimensions": saved("crops", lambda _: np.int32(3)),
    "crops in one row": saved("crops", lambda crops: crops[0]),
    "fewer boxes": saved("boxes", lambda boxes: boxes[:2]),
    "fewer pictures": saved("pictures", lambda pictures: pictures[:-1]),
    "fewer mouths": saved("mouths", lambda mouths: mouths[:-1]),
    "boxes of another type": saved("boxes", lambda boxes: boxes.astype(np.float64)),
    "a box outside": saved("boxes", lambda boxes: boxes + 200),
    "no frames": saved("frames", lambda frames: frames[:0]),
    "crops the wrong way round": saved("crops", lambda crops: crops[:, [2, 3, 0, 1]]),
    "fewer masks": saved("masks", lambda masks: masks[:-1]),
}


def test_a_whole_folder_is_loaded(folder: Path) -> None:
    assert load(folder).boxes.shape == (COUNT, 4)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused_in_a_sentence(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(folder)
    with pytest.raises(PersonaError, match=r"is damaged \(.+\)\. Delete that folder"):
        load(folder)


@pytest.fixture
def persona(tmp_path: Path) -> Persona:
    return replace(drawn_persona(COUNT), folder=tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", ROWS[:2], ROWS.astype(np.float64), ROWS[:, :4], np.float16(1)],
    ids=["empty", "torn", "fewer rows", "another type", "fewer channels", "a number"],
)
def test_damaged_latents_are_refused_with_the_command(persona: Persona, content: Any) -> None:
    path = persona.folder / f"{latents_name('f')}.npy"
    assert stored_latents(persona, "f") is None
    np.save(path, ROWS)
    assert stored_latents(persona, "f") is not None
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(PersonaError, match=r"are damaged \(.+\)\. Run `voipavatar models latents"):
        stored_latents(persona, "f")


def test_latents_cut_in_half_are_refused(persona: Persona) -> None:
    path = persona.folder / f"{latents_name('f')}.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PersonaError, match="are damaged"):
        stored_latents(persona, "f")
