"""Mouths that close after speech."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.persona import Persona
from engine.core.types import FrameJob, Picture
from engine.picture.blend import Bgr, Canvas
from engine.picture.compose import Composer
from tests.about import about
from tests.engine.drawn import drawn_persona

WHITE = np.full((256, 256, 3), 255, np.uint8)
BLACK = np.zeros((256, 256, 3), np.uint8)
CLOSE = 8


@pytest.fixture(scope="module")
def persona() -> Persona:
    return drawn_persona(frames=1)  # one pose, so that only the mouth changes


@pytest.fixture
def composer() -> Composer:
    return Composer(CLOSE, run_ahead=8)


def job(persona: Persona, tick: int, closing: int = 0, generation: int = 0) -> FrameJob:
    audio = None if closing else np.zeros(1, np.int16)
    return FrameJob(1, generation, tick, 0.0, persona, audio, closing=closing)


def distance(picture: Picture, persona: Persona) -> int:
    return int(np.abs(picture.astype(int) - persona.pictures[0].astype(int)).sum())


def test_the_last_face_fades_evenly_into_the_closed_mouth(
    composer: Composer, persona: Persona
) -> None:
    talking = composer.paint(job(persona, 0), WHITE).picture
    closing = [composer.paint(job(persona, k, closing=k), None).picture for k in range(1, 10)]
    away = [distance(picture, persona) for picture in [talking, *closing]]
    assert away == sorted(away, reverse=True)
    assert away[CLOSE] > 0
    assert away[CLOSE + 1] == 0
    steps = -np.diff(away)
    assert steps.max() < 1.6 * steps.mean()


def test_speech_in_between_starts_anew(composer: Composer, persona: Persona) -> None:
    first = composer.paint(job(persona, 0), WHITE).picture
    composer.paint(job(persona, 1, closing=1), None)
    again = composer.paint(job(persona, 2), WHITE).picture
    np.testing.assert_array_equal(first, again)


def test_a_mouth_that_never_spoke_stays_closed(composer: Composer, persona: Persona) -> None:
    assert distance(composer.paint(job(persona, 0, closing=1), None).picture, persona) == 0


def test_an_interrupted_mouth_closes_from_what_was_shown(
    composer: Composer, persona: Persona
) -> None:
    """Faces painted ahead for cleared speech were never seen."""
    composer.paint(job(persona, 0), WHITE)
    for tick in (1, 2, 3):
        composer.paint(job(persona, tick), BLACK)
    picture = composer.paint(job(persona, 1, closing=1, generation=1), None).picture
    step = 256 - round(256 / (CLOSE + 1))
    expected = Canvas(persona).picture(1, WHITE, step)
    np.testing.assert_array_equal(picture, expected)


def test_a_closed_mouth_that_is_interrupted_does_not_open(
    composer: Composer, persona: Persona
) -> None:
    composer.paint(job(persona, 0), WHITE)
    for k in range(1, CLOSE + 1):
        composer.paint(job(persona, k, closing=k), None)
    composer.paint(job(persona, 30), BLACK)
    picture = composer.paint(job(persona, 25, closing=1, generation=1), None).picture
    assert distance(picture, persona) == 0


def test_streams_do_not_see_each_others_faces(composer: Composer, persona: Persona) -> None:
    composer.paint(job(persona, 0), WHITE)
    other = FrameJob(2, 0, 1, 0.0, persona, None, closing=1)
    assert distance(composer.paint(other, None).picture, persona) == 0


def test_a_forgotten_stream_leaves_nothing(composer: Composer, persona: Persona) -> None:
    composer.paint(job(persona, 0), WHITE)
    composer.forget(1)
    assert distance(composer.paint(job(persona, 1, closing=1), None).picture, persona) == 0


def test_a_face_is_kept_though_the_backend_reuses_its_memory(
    composer: Composer, persona: Persona
) -> None:
    buffer = WHITE.copy()
    composer.paint(job(persona, 0), buffer)
    buffer[:] = 0
    picture = composer.paint(job(persona, 1, closing=1), None).picture
    expected = Canvas(persona).picture(1, WHITE, 256 - round(256 / (CLOSE + 1)))
    np.testing.assert_array_equal(picture, expected)


def test_a_backend_that_can_close_a_mouth_is_asked_for_its_face(persona: Persona) -> None:
    asked: list[tuple[int, int, float]] = []

    def relax(said: FrameJob, tick: int, weight: float) -> Bgr:
        asked.append((said.tick, tick, weight))
        return BLACK

    composer = Composer(CLOSE, 8, relax)
    talking = composer.paint(job(persona, 4), WHITE).picture
    closing = composer.paint(job(persona, 5, closing=1), None).picture
    weight = 1 - 1 / (CLOSE + 1)
    np.testing.assert_array_equal(talking, Canvas(persona).picture(4, WHITE))
    np.testing.assert_array_equal(closing, Canvas(persona).picture(5, BLACK, round(256 * weight)))
    assert asked == [(4, 5, about(weight))]
