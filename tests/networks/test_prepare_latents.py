"""Latents on their way to disk: runs that broke off anywhere, and two at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.engine_errors import PersonaError
from engine.core.persona import Persona
from engine.core.types import Faces
from engine.picture import encode_latents as latents
from engine.picture.encode_latents import prepare_latents
from engine.picture.latents import latents_name
from tests.engine.drawn import drawn_persona
from tests.engine.pools import PATIENCE

COUNT = 10
NAME = latents_name("e")


@pytest.fixture
def persona(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Persona:
    """Ten frames; the place of an autoencoder is taken by the mean of a face."""

    def encode(_: Any, faces: Faces) -> Any:
        means = faces.reshape(len(faces), -1).mean(axis=1)
        return np.tile(means[:, None, None, None], (1, 8, 32, 32)).astype(np.float32)

    monkeypatch.setattr(latents, "encode_faces", encode)
    return replace(drawn_persona(COUNT), folder=tmp_path)


def made(persona: Persona) -> tuple[Any, list[int]]:
    steps: list[int] = []
    rows = prepare_latents(persona, "e", lambda: None, lambda done, _: steps.append(done))
    return np.array(rows), steps


@pytest.fixture
def whole(persona: Persona) -> Any:
    rows, steps = made(persona)
    assert steps == [4, 8, 10]
    (persona.folder / f"{NAME}.npy").unlink()
    return rows


def broken_off(persona: Persona) -> Path:
    def stop(done: int, _: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_latents(persona, "e", lambda: None, stop)
    return persona.folder / f"{NAME}.partial"


@pytest.mark.parametrize(
    ("spoil", "steps"),
    [
        (lambda content: content, [10]),
        (lambda content: content[:-100], [10]),
        (lambda content: content[:-20_000], [10]),
        (lambda content: content[:-70_000] + bytes(70_000), [7, 10]),
        (lambda content: content[:60], [4, 8, 10]),
        (lambda content: b"", [4, 8, 10]),
        (lambda content: bytes(len(content)), [4, 8, 10]),
        (lambda content: content.replace(b"(10, 8", b"(11, 8"), [4, 8, 10]),
    ],
    ids=["whole", "torn", "two rows", "zeros", "header", "empty", "all zeros", "other frames"],
)
def test_a_run_goes_on_where_it_broke_off_whatever_is_left(
    persona: Persona, whole: Any, spoil: Any, steps: list[int]
) -> None:
    partial = broken_off(persona)
    partial.write_bytes(spoil(partial.read_bytes()))
    rows, seen = made(persona)
    assert np.array_equal(rows, whole)
    assert seen[-1] == 10
    assert seen == steps
    assert not partial.exists()


def test_damaged_latents_are_made_anew(persona: Persona, whole: Any) -> None:
    (persona.folder / f"{NAME}.npy").write_bytes(b"")
    assert np.array_equal(made(persona)[0], whole)


def test_the_second_of_two_waits_and_takes_what_the_first_made(
    persona: Persona, whole: Any
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def first(done: int, _: int) -> None:
        begun.set()
        go_on.wait(PATIENCE)

    results: list[Any] = []
    one = threading.Thread(
        target=lambda: results.append(prepare_latents(persona, "e", lambda: None, first))
    )
    one.start()
    begun.wait(PATIENCE)
    steps: list[int] = []

    def second() -> None:
        watch = lambda done, _: steps.append(done)  # noqa: E731
        results.append(prepare_latents(persona, "e", lambda: None, watch))

    other = threading.Thread(target=second)
    other.start()
    go_on.set()
    for thread in (one, other):
        thread.join(PATIENCE)
    assert steps == []
    assert all(np.array_equal(rows, whole) for rows in results)
    assert len(results) == 2


def test_what_half_precision_cannot_hold_is_refused(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = np.full((4, 8, 32, 32), 1e6, np.float32)
    monkeypatch.setattr(latents, "encode_faces", lambda *_: huge)
    with pytest.raises(PersonaError, match="frames 0 to 3 of drawn are not finite"):
        made(persona)
