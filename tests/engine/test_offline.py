"""A whole sound through the pool, as `voipavatar render` does it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.backends.warp import WarpBackend
from engine.core.engine_errors import EngineFault
from engine.core.persona import Persona
from engine.core.types import Faces, FrameJob, Pcm, Picture
from engine.engine_config import EngineConfig
from engine.offline import CLOSING, render
from engine.prepare.build import prepare
from engine.prepare.settings import parse_settings
from engine.serving.pool import EnginePool
from tests.videos import persona_frames, tone, write_video

CONFIG = EngineConfig(backend="warp", max_streams=1)


@pytest.fixture(scope="module")
def persona(tmp_path_factory: pytest.TempPathFactory) -> Persona:
    folder = tmp_path_factory.mktemp("ada")
    video = write_video(folder / "ada.mp4", persona_frames(25))
    block = {"video_path": "ada.mp4", "face_box": [80, 80, 180, 190]}
    return prepare("ada", parse_settings("ada", block), video, folder / "cache")


def voice(seconds: float) -> Pcm:
    return (tone(seconds, 16_000, hz=700) * 32767).astype(np.int16)


async def _all(pool: EnginePool, persona: Persona, pcm: Pcm) -> list[Picture]:
    return [picture.copy() async for picture in render(pool, persona, pcm)]


async def test_every_begun_40_ms_has_its_picture_in_order(persona: Persona) -> None:
    pool = EnginePool(CONFIG)
    pool.start()
    try:
        speech = np.concatenate([np.zeros(16_000, np.int16), voice(1.0), np.zeros(9_900, np.int16)])
        pictures = await _all(pool, persona, speech)
    finally:
        await pool.aclose()
    assert len(pictures) == 66  # 65.5 of them
    idle = [persona.pictures[persona.source(tick)] for tick in range(66)]
    speaks = [not np.array_equal(a, b) for a, b in zip(pictures, idle, strict=True)]
    assert not any(speaks[:24])
    assert all(speaks[26:50])
    assert all(speaks[50:57])  # the mouth closes after the sound
    assert not any(speaks[59:])


async def test_a_sound_that_ends_in_speech_ends_with_a_closed_mouth(persona: Persona) -> None:
    pool = EnginePool(CONFIG)
    pool.start()
    try:
        pictures = await _all(pool, persona, voice(0.8))
        one = await _all(pool, persona, voice(0.01))
    finally:
        await pool.aclose()
    idle = [persona.pictures[persona.source(tick)].astype(int) for tick in range(20)]
    away = [int(np.abs(a - b).sum()) for a, b in zip(pictures, idle, strict=True)]
    assert away[-1] == 0
    assert away[-2] < away[-3] < away[-CLOSING - 1]
    assert len(one) == 1


async def test_the_place_is_free_again_after_a_break(persona: Persona) -> None:
    pool = EnginePool(CONFIG)
    pool.start()
    try:
        pictures = render(pool, persona, voice(1.0))
        await anext(pictures)
        await pictures.aclose()
        assert len(await _all(pool, persona, voice(0.2))) == 5
    finally:
        await pool.aclose()


class _Broken(WarpBackend):
    broken = False

    def run(self, jobs: Sequence[FrameJob]) -> Faces:
        if self.broken:
            raise EngineFault("The device is gone.")
        return super().run(jobs)


async def test_a_fault_ends_it_with_its_sentence(persona: Persona) -> None:
    backend = _Broken(CONFIG)
    pool = EnginePool(CONFIG, backend)
    pool.start()
    try:
        backend.broken = True
        with pytest.raises(EngineFault, match="The device is gone"):
            await _all(pool, persona, voice(1.0))
    finally:
        await pool.aclose()
