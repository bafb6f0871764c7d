"""MuseTalk's networks, tiny and random, in a real room: how it looks is no test's business."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.rtc.resources import open_resources
from app.rtc.session import SessionResources
from app.session_types import Limits
from bench.clients.participant import LiveKitAccess
from bench.clients.speaker import RoomSpeaker
from bench.clients.viewer import Viewer
from bench.measure.mouth import MouthRegion
from engine.core.persona import Persona
from tests.e2e.conftest import Live
from tests.e2e.scripted import tone
from tests.e2e.waiting import PATIENCE_S, until
from tests.videos import SIDE, persona_frames, write_video

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_torch_thread")]

RATE = 48_000
PREPARING_S = 60.0  # the first session of a persona waits for its latents


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncIterator[Catalogue]:
    """One persona, of a second."""
    write_video(tmp_path / "short.mp4", persona_frames(25))
    (tmp_path / "personas.yaml").write_text("default:\n  video_path: short.mp4\n")
    catalogue = Catalogue(tmp_path, tmp_path / "cache")
    yield catalogue
    await catalogue.aclose()


@pytest.fixture
async def persona(catalogue: Catalogue) -> Persona:
    return await catalogue.load("default")


@pytest.fixture
async def stage(
    tiny_models: Path, catalogue: Catalogue, livekit: LiveKitAccess
) -> AsyncIterator[SessionResources]:
    settings = Settings(
        _env_file=None,
        livekit_url=livekit.url,  # which this process may then reach, viewer and speaker too
        engine="torch",
        device="cpu",
        models_dir=tiny_models,
        decoder="tiny",
        left_context_ms=200,
        right_context_ms=0,
    )
    async with open_resources(settings, catalogue) as stage:
        # So long speech waits for its first picture, however busy the machine is.
        stage.pool.start_latency_s = 1.0
        yield stage


@pytest.fixture
async def viewer(livekit: LiveKitAccess, persona: Persona) -> AsyncIterator[Viewer]:
    region = MouthRegion.of(persona.mouths, SIDE, SIDE)
    viewer = Viewer(livekit, "avatar", region=region)
    await viewer.start("musetalk")
    yield viewer
    await viewer.aclose()


@pytest.fixture
async def speaker(livekit: LiveKitAccess) -> AsyncIterator[RoomSpeaker]:
    speaker = RoomSpeaker(livekit, RATE)
    await speaker.start("musetalk")
    yield speaker
    await speaker.aclose()


async def test_the_networks_paint_the_mouth_of_who_is_heard(
    perform: Callable[..., Awaitable[Live]],
    stage: SessionResources,
    viewer: Viewer,
    speaker: RoomSpeaker,
) -> None:
    live = await perform("musetalk", limits=Limits(join_timeout_s=PREPARING_S))
    assert stage.pool.backend_name == "torch"
    await asyncio.wait_for(viewer.first_picture.wait(), PATIENCE_S)
    await until(lambda: len(viewer.crops) > 20)
    silent = len(viewer.crops)
    assert stage.pool.stats().frames == 0  # silence costs nothing

    async def speaks() -> bool:
        changes = away(viewer.crops, silent)
        moved = changes[silent:].max(initial=0) > 2 * changes[:silent].max()
        turns = (await live.session.stats())["turn_start_ms"]["count"]
        return bool(moved and np.abs(viewer.heard.pcm).max(initial=0) > 3000 and turns > 0)

    said = 0
    async with asyncio.timeout(2 * PATIENCE_S):
        while not await speaks():
            # Of longer speech a slow machine is late with every picture but the first.
            await speaker.say(tone(0.4, RATE))
            said += 1
            await asyncio.sleep(1.0)
    stats = stage.pool.stats()
    assert 0 < stats.frames <= 15 * said
    assert sum(size * count for size, count in stats.batch_sizes.items()) == stats.frames
    assert stats.invalid == stats.restarts == 0
    assert not live.task.done()


def away(crops: NDArray[np.uint8], silent: int) -> NDArray[np.float64]:
    """(n,) levels by which pictures of the mouth differ from the usual one of silence."""
    usual = np.median(crops[:silent], axis=0)
    changes: NDArray[np.float64] = np.abs(crops - usual).mean(axis=(1, 2))
    return changes
