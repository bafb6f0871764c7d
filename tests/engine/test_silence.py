"""A quiet caller's lips move, and neither silence nor noise moves them."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from app.shipped import SAMPLE
from bench.measure.mouth import MouthRegion, openings
from bench.measure.speech import read_wav
from bench.measure.sync import pearson
from engine.audio.silence import SilenceGate
from engine.core.persona import Persona
from engine.core.types import SAMPLE_RATE, SAMPLES_PER_FRAME, Pcm
from engine.engine_config import EngineConfig
from engine.offline import render
from engine.prepare.build import prepare
from engine.prepare.settings import parse_settings
from engine.serving.pool import EnginePool
from tests.videos import SIDE, persona_frames, write_video

Floats = NDArray[np.float64]
CEILING = EngineConfig().silence_rms
QUIET_DB, FULL_DB = -47.0, -20.0
SECONDS = 12


@pytest.fixture(scope="module")
def persona(tmp_path_factory: pytest.TempPathFactory) -> Persona:
    folder = tmp_path_factory.mktemp("ada")
    video = write_video(folder / "ada.mp4", persona_frames(25))
    block = {"video_path": "ada.mp4", "face_box": [80, 80, 180, 190]}
    return prepare("ada", parse_settings("ada", block), video, folder / "cache")


def level(db: float) -> float:
    return float(10 ** (db / 20) * 32768)


def speech(db: float) -> Floats:
    """The project's sample, that loud on the whole."""
    pcm, rate = read_wav(SAMPLE)
    pcm = soxr.resample(pcm.astype(np.float64), rate, SAMPLE_RATE)[: SECONDS * SAMPLE_RATE]
    loud: Floats = pcm * level(db) / np.sqrt(np.mean(pcm**2))
    return loud


def noise(db: float, samples: int = SECONDS * SAMPLE_RATE) -> Floats:
    return np.random.default_rng(1).standard_normal(samples) * level(db)


def as_pcm(sound: Floats) -> Pcm:
    return np.clip(np.round(sound), -32768, 32767).astype(np.int16)


def loudness(sound: Floats) -> Floats:
    frames = sound[: len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    found: Floats = np.sqrt(np.mean(frames.reshape(-1, SAMPLES_PER_FRAME) ** 2, axis=1)) / 32768
    return found


def talks(sound: Floats) -> NDArray[np.bool_]:
    gate = SilenceGate(CEILING)
    return np.array([not gate.silent(rms) for rms in loudness(np.round(sound)).tolist()])


async def mouth(persona: Persona, sound: Floats) -> Floats:
    """Its opening in every picture of the sound."""
    region = MouthRegion.of(persona.mouths, persona.width, persona.height)
    pool = EnginePool(EngineConfig(backend="warp", max_streams=1))
    pool.start()

    def crop(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return region.crop(picture[: SIDE * SIDE].reshape(SIDE, SIDE))

    try:
        crops = [crop(picture) async for picture in render(pool, persona, as_pcm(sound))]
    finally:
        await pool.aclose()
    closed = np.stack([crop(picture) for picture in persona.pictures])
    return openings(np.stack(crops), closed, region)


@pytest.mark.parametrize("noise_db", [None, -65.0])
async def test_lips_follow_a_quiet_caller(persona: Persona, noise_db: float | None) -> None:
    sound = speech(QUIET_DB)
    if noise_db is not None:
        sound = sound + noise(noise_db)
    opened = await mouth(persona, sound)
    assert pearson(opened[: len(loudness(sound))], loudness(sound)) > 0.6  # as the contract asks
    full = await mouth(persona, speech(FULL_DB))
    assert np.percentile(opened, 95) > 0.4 * np.percentile(full, 95)


async def test_lips_rest_in_steady_noise(persona: Persona) -> None:
    sound = np.concatenate([np.zeros(2 * SAMPLE_RATE), noise(-50.0)])
    at_rest = await mouth(persona, np.zeros(len(sound)))
    assert np.array_equal(await mouth(persona, sound), at_rest)


@pytest.mark.parametrize("noise_db", [None, -65.0, -55.0])
def test_a_usual_voice_is_judged_as_by_the_fixed_loudness(noise_db: float | None) -> None:
    sound = speech(FULL_DB) + (0.0 if noise_db is None else noise(noise_db))
    fixed = loudness(np.round(sound)) >= CEILING
    assert np.mean(talks(sound) == fixed) > 0.995


@pytest.mark.parametrize("noise_db", [None, -65.0])
def test_a_quiet_voice_is_judged_like_a_usual_one(noise_db: float | None) -> None:
    quiet = speech(QUIET_DB) + (0.0 if noise_db is None else noise(noise_db))
    usual = loudness(np.round(speech(FULL_DB))) >= CEILING
    assert np.mean(talks(quiet) == usual) > 0.9


@pytest.mark.parametrize("noise_db", [-90.0, -70.0, -60.0, -50.0, -42.0])
def test_steady_noise_is_silence_from_its_first_piece(noise_db: float) -> None:
    silence = np.zeros(3 * SAMPLE_RATE)
    assert not talks(np.concatenate([silence, noise(noise_db)])).any()
    after_speech = np.concatenate([speech(FULL_DB), noise(noise_db)])
    assert not talks(after_speech)[len(loudness(speech(FULL_DB))) + 1 :].any()


def test_noise_that_grows_is_silence_two_seconds_later() -> None:
    heard = talks(np.concatenate([noise(-65.0), noise(-48.0)]))
    begun = len(heard) // 2
    assert heard[begun : begun + 25].any()
    assert not heard[begun + 55 :].any()


def test_what_is_louder_than_the_ceiling_is_never_silence() -> None:
    gate = SilenceGate(CEILING)
    assert not any(gate.silent(CEILING) for _ in range(500))


def test_without_a_ceiling_nothing_is_silence() -> None:
    gate = SilenceGate(0.0)
    assert not any(gate.silent(0.0) for _ in range(10))


def test_another_source_is_judged_by_itself() -> None:
    gate = SilenceGate(CEILING)
    for rms in loudness(speech(FULL_DB)).tolist():
        gate.silent(rms)
    gate.forget()
    quiet = [not gate.silent(rms) for rms in loudness(speech(QUIET_DB)).tolist()]
    assert np.array_equal(quiet, talks(speech(QUIET_DB)))
