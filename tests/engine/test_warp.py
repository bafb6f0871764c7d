"""The warp backend: a mouth that follows the sound, whatever batch it is painted in."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from engine.audio.speech import Speech
from engine.backends import load
from engine.backends.warp import WarpBackend
from engine.backends.warp_sound import LEFT_CONTEXT, LOOKAHEAD, Shape, shapes
from engine.core.engine_errors import BackendUnavailable
from engine.core.persona import Persona
from engine.core.types import SAMPLE_RATE, Faces, FrameJob, Pcm
from engine.engine_config import EngineConfig
from engine.musetalk.image import crop_face
from engine.serving.choice import load_backend
from tests.engine.drawn import drawn_persona

SAMPLE = Path(__file__).parents[2] / "samples" / "speech.wav"


@pytest.fixture(scope="module")
def persona() -> Persona:
    return drawn_persona()


@pytest.fixture(scope="module")
def speech() -> Pcm:
    with wave.open(str(SAMPLE)) as file:
        rate, sound = file.getframerate(), file.readframes(12 * file.getframerate())
    resampled: Pcm = soxr.resample(np.frombuffer(sound, np.int16), rate, SAMPLE_RATE)
    return resampled


def heard(pcm: Pcm) -> tuple[list[Pcm], NDArray[np.float64]]:
    """Windows and loudness of every frame."""
    speech = Speech(LEFT_CONTEXT, LOOKAHEAD)
    speech.push(pcm)
    speech.end_segment()
    windows = [speech.window(frame) for frame in range(speech.frames)]
    return [w.audio for w in windows], np.array([w.rms for w in windows])


def jobs(persona: Persona, windows: list[Pcm]) -> list[FrameJob]:
    return [FrameJob(0, 0, tick, 0.0, persona, audio) for tick, audio in enumerate(windows)]


def resting(persona: Persona, tick: int) -> Faces:
    index = persona.source(tick)
    return crop_face(persona.frames[index], persona.boxes[index])


def _dark(face: Faces) -> int:
    """Pixels of the lower face that are darker than skin and lips."""
    return int((face[150:].max(axis=2) < 75).sum())


def vowel(first: float, second: float, seconds: float = 0.5) -> Pcm:
    """Harmonics of 120 Hz about two formants."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(time)
    for harmonic in range(1, 40):
        pitch = 120.0 * harmonic
        near = np.exp(-(((pitch - first) / 120) ** 2)) + 0.5 * np.exp(
            -(((pitch - second) / 150) ** 2)
        )
        sound += near * np.sin(2 * np.pi * pitch * time)
    vowel: NDArray[np.int16] = (6000 * sound / np.abs(sound).max()).astype(np.int16)
    return vowel


def middle(pcm: Pcm) -> Shape:
    windows, _ = heard(pcm)
    return shapes([windows[len(windows) // 2]])[0]


def test_a_face_does_not_depend_on_its_batch(persona: Persona, speech: Pcm) -> None:
    backend = WarpBackend(EngineConfig())
    some = jobs(persona, heard(speech)[0])[20:28]
    together = backend.run(some).copy()
    for job, face in zip(reversed(some), together[::-1], strict=True):
        np.testing.assert_array_equal(WarpBackend(EngineConfig()).run([job])[0], face)


def test_silence_leaves_the_face_as_it_is(persona: Persona) -> None:
    silence = np.zeros(LEFT_CONTEXT + 640 + LOOKAHEAD, np.int16)
    face = WarpBackend(EngineConfig()).run(jobs(persona, [silence]))[0]
    np.testing.assert_array_equal(face, resting(persona, 0))


def test_opening_follows_loudness_without_delay(speech: Pcm) -> None:
    windows, loudness = heard(speech)
    opening = np.array([shape.opening for shape in shapes(windows)])
    by_lag = {
        lag: np.corrcoef(np.roll(opening, lag)[3:-3], loudness[3:-3])[0, 1] for lag in (-1, 0, 1)
    }
    assert by_lag[0] > 0.8
    assert by_lag[0] > by_lag[1]
    assert by_lag[0] > by_lag[-1]


def test_the_dark_inside_grows_with_loudness(persona: Persona, speech: Pcm) -> None:
    """Seen in the picture, not in the numbers it was made from."""
    windows, loudness = heard(speech[: 4 * SAMPLE_RATE])
    backend = WarpBackend(EngineConfig())
    dark = [_dark(backend.run([job])[0]) for job in jobs(persona, windows)]
    assert np.corrcoef(dark, loudness)[0, 1] > 0.7


def test_lips_meet_soon_after_speech(persona: Persona, speech: Pcm) -> None:
    windows, loudness = heard(speech)
    job = jobs(persona, windows)[int(loudness.argmax())]
    backend = WarpBackend(EngineConfig())
    talking = backend.run([job])[0]
    before = talking.copy()
    closed = _dark(resting(persona, job.tick))
    dark = [_dark(backend.relax(job, job.tick, weight)) - closed for weight in (1.0, 0.9, 0.8, 0.6)]
    assert dark == sorted(dark, reverse=True)
    assert dark[0] > 4 * dark[3]
    np.testing.assert_array_equal(talking, before)  # the batch that is being pasted meanwhile


def test_vowels_have_their_shapes() -> None:
    a, i, o = middle(vowel(750, 1200)), middle(vowel(300, 2400)), middle(vowel(450, 800))
    assert a.opening > 2 * i.opening
    assert i.width > 0.5
    assert o.width < -0.3
    assert i.teeth > a.teeth


def test_a_hiss_shows_teeth_and_opens_little() -> None:
    noise = np.random.default_rng(0).normal(0, 4000, SAMPLE_RATE // 2)
    hiss = middle(np.diff(noise, n=3, append=[0, 0, 0]).clip(-30_000, 30_000).astype(np.int16))
    assert hiss.teeth > 0.8
    assert hiss.opening < 0.3


@pytest.mark.parametrize(
    "dip",
    [vowel(240, 240, 0.12) * 0.2, vowel(750, 1200, 0.08) * 0.04],
    ids=["murmur of an m", "stop of a b"],
)
def test_lips_close_in_a_dip(dip: NDArray[np.float64]) -> None:
    loud = vowel(750, 1200, 0.4)
    windows, _ = heard(np.concatenate([loud, dip.astype(np.int16), loud]))
    opening = np.array([shape.opening for shape in shapes(windows)])
    assert opening[10:12].min() < 0.1
    assert opening[7] > 0.5
    assert opening[16] > 0.5


def test_how_loud_a_speaker_is_matters_less_than_what_is_said() -> None:
    loud = vowel(750, 1200)
    assert middle((loud * 0.2).astype(np.int16)).opening > 0.4 * middle(loud).opening


def test_only_the_lower_face_changes(persona: Persona, speech: Pcm) -> None:
    windows, loudness = heard(speech)
    loudest = int(loudness.argmax())
    face = WarpBackend(EngineConfig()).run([jobs(persona, windows)[loudest]])[0]
    changed = np.abs(face.astype(int) - resting(persona, loudest)).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 500
    assert rows.min() > 128  # below the middle of the box
    assert rows.max() < 255  # the seam to the rest of the frame
    assert columns.min() > 20
    assert columns.max() < 236


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_mouth_at_the_edge_of_its_face_is_painted(persona: Persona, share: float) -> None:
    """However wrong it was found."""
    x1, y1, x2, y2 = persona.boxes[0].tolist()
    edge = [x1 + share * (x2 - x1), y1 + share * (y2 - y1), (x2 - x1) / 4, 0.4]
    mouths = np.array([edge] * len(persona.frames), np.float32)
    misplaced = replace(persona, mouths=mouths)
    face = WarpBackend(EngineConfig()).run(jobs(misplaced, [vowel(750, 1200, 1.08)]))[0]
    assert not np.array_equal(face, resting(persona, 0))


@pytest.mark.parametrize("name", ["warp", "auto"])
def test_warp_is_what_runs_without_weights(name: str, tmp_path: Path) -> None:
    backend = load_backend(EngineConfig(backend=name, models_dir=tmp_path))
    assert backend.name == "warp"


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(BackendUnavailable, match=r"no engine called 'magic'.*auto, warp, torch"):
        load(EngineConfig(backend="magic"))
