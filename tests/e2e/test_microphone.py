"""Whose microphone is followed where nobody is named: one that is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import numpy as np
import pytest
from livekit import api, rtc

from app.session_types import AudioSpec, EndReason, Outcome
from bench.clients.participant import LiveKitAccess
from bench.clients.speaker import RoomSpeaker
from bench.clients.viewer import Viewer
from tests.e2e.conftest import PATIENT, Live
from tests.e2e.scripted import tone
from tests.e2e.waiting import speaking, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
RATE = 48_000
LEFT_S = 10.0  # longer than a busy machine keeps a connection waiting
MUTED_S = 4.0


@pytest.fixture
async def viewer(livekit: LiveKitAccess) -> AsyncIterator[Viewer]:
    viewer = Viewer(livekit, "avatar")
    yield viewer
    await viewer.aclose()


class AsAgent(LiveKitAccess):
    def token(self, room: str, identity: str) -> str:
        made = api.AccessToken(self.key, self.secret).with_identity(identity).with_kind("agent")
        return str(made.with_grants(api.VideoGrants(room_join=True, room=room)).to_jwt())


class People:
    """Speakers by name, who leave with the test."""

    def __init__(self, livekit: LiveKitAccess, exits: AsyncExitStack) -> None:
        self._livekit = livekit
        self._exits = exits

    async def enter(self, room: str, identity: str, *, agent: bool = False) -> RoomSpeaker:
        known = self._livekit
        access = AsAgent(known.url, known.key, known.secret) if agent else known
        speaker = RoomSpeaker(access, RATE)
        self._exits.push_async_callback(speaker.aclose)
        await speaker.start(room, identity)
        return speaker


@pytest.fixture
async def people(livekit: LiveKitAccess) -> AsyncIterator[People]:
    async with AsyncExitStack() as exits:
        yield People(livekit, exits)


def microphone(speaker: RoomSpeaker) -> rtc.LocalTrackPublication:
    return next(iter(speaker._room.local_participant.track_publications.values()))


async def until_heard(viewer: Viewer, speaker: RoomSpeaker) -> None:
    """Until what is spoken from now on is heard from the avatar."""
    before = len(viewer.heard.pcm)

    def heard() -> bool:
        pcm = viewer.heard.pcm[before:][-RATE // 2 :].astype(np.float64)
        return len(pcm) > 0 and float(np.sqrt(np.mean(pcm**2))) > 300

    async with speaking(speaker, tone(0.5, RATE)):
        await until(heard)


async def until_silent(viewer: Viewer) -> None:
    def silent() -> bool:
        return bool(np.abs(viewer.heard.pcm[-RATE // 2 :]).max(initial=0) < 50)

    await until(silent)


async def test_another_open_microphone_takes_over(
    perform: Perform, viewer: Viewer, people: People
) -> None:
    await viewer.start("taking over")
    first = await people.enter("taking over", "first")
    live = await perform("taking over", limits=replace(PATIENT, participant_left_timeout_s=LEFT_S))
    await until_heard(viewer, first)
    second = await people.enter("taking over", "second")

    microphone(first).track.mute()  # type: ignore[union-attr]
    await until_silent(viewer)
    await until_heard(viewer, second)

    microphone(first).track.unmute()  # type: ignore[union-attr]
    microphone(second).track.mute()  # type: ignore[union-attr]
    await until_silent(viewer)
    await until_heard(viewer, first)

    microphone(second).track.unmute()  # type: ignore[union-attr]
    await first._room.local_participant.unpublish_track(microphone(first).sid)
    await until_silent(viewer)
    await until_heard(viewer, second)

    await second.aclose()
    # The one that is left has no microphone: who was followed is gone.
    assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)


async def test_an_agent_goes_first_while_its_microphone_is_open(
    perform: Perform, viewer: Viewer, people: People
) -> None:
    await viewer.start("agent first")
    person = await people.enter("agent first", "person")
    await perform("agent first")
    await until_heard(viewer, person)
    agent = await people.enter("agent first", "an agent", agent=True)
    await until_heard(viewer, agent)
    microphone(agent).track.mute()  # type: ignore[union-attr]
    await until_silent(viewer)
    await until_heard(viewer, person)
    microphone(agent).track.unmute()  # type: ignore[union-attr]
    await until_heard(viewer, agent)


async def test_who_is_muted_is_not_absent(perform: Perform, viewer: Viewer, people: People) -> None:
    await viewer.start("muted")
    only = await people.enter("muted", "only")
    live = await perform("muted", limits=replace(PATIENT, participant_left_timeout_s=MUTED_S))
    await until_heard(viewer, only)
    microphone(only).track.mute()  # type: ignore[union-attr]
    await until_silent(viewer)
    await asyncio.sleep(MUTED_S + 1.0)
    microphone(only).track.unmute()  # type: ignore[union-attr]
    await until_heard(viewer, only)
    assert not live.task.done()


async def test_who_is_named_is_followed_alone(
    perform: Perform, viewer: Viewer, people: People
) -> None:
    await viewer.start("named")
    named = await people.enter("named", "named")
    other = await people.enter("named", "other")
    await perform("named", audio=AudioSpec("track", participant="named"))
    await until_heard(viewer, named)
    microphone(named).track.mute()  # type: ignore[union-attr]
    await until_silent(viewer)
    before = len(viewer.heard.pcm)
    await other.say(tone(2.0, RATE))
    assert np.abs(viewer.heard.pcm[before:]).max(initial=0) < 50
    microphone(named).track.unmute()  # type: ignore[union-attr]
    await until_heard(viewer, named)
