"""A person who begins to speak silences an agent's avatar, where that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from app.rtc.input import barge_in
from app.session_types import AudioSpec
from bench.clients.participant import LiveKitAccess
from bench.clients.speaker import RoomSpeaker
from bench.clients.viewer import Viewer
from tests.e2e.conftest import Live
from tests.e2e.scripted import Agent, tone
from tests.e2e.waiting import speaking, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
RATE = 48_000
LONG = tone(30.0, 8_000)  # nobody says it to the end


@pytest.fixture
async def person(livekit: LiveKitAccess) -> AsyncIterator[RoomSpeaker]:
    person = RoomSpeaker(livekit, RATE)
    yield person
    await person.aclose()


@pytest.fixture
async def viewer(livekit: LiveKitAccess) -> AsyncIterator[Viewer]:
    viewer = Viewer(livekit, "avatar")
    yield viewer
    await viewer.aclose()


async def test_who_speaks_interrupts_and_is_not_repeated(
    perform: Perform, agent: Agent, person: RoomSpeaker, viewer: Viewer
) -> None:
    await agent.join("barge")
    await person.start("barge")
    await viewer.start("barge")
    live = await perform("barge", audio=AudioSpec("data_stream", agent="agent", barge_in=True))
    await person.say(tone(0.5, RATE))  # nothing is being said yet
    await asyncio.sleep(2.0)
    await agent.say(LONG, 8_000)
    await agent.until_started()
    await asyncio.sleep(0.5)
    assert agent.finished == []
    await person.say(tone(0.06, RATE))  # no more than a cough
    await asyncio.sleep(0.5)
    assert agent.finished == []
    async with speaking(person, tone(1.0, RATE)):
        await agent.until_finished(1)
        heard = len(viewer.heard.pcm)
        await until(lambda: silent(viewer.heard.pcm[heard:], 1.0))
    assert agent.finished[0]["interrupted"]
    assert 0 < agent.finished[0]["playback_position"] < 30.0
    assert (await live.session.stats())["segments"]["interrupted"] == 1
    assert (await live.session.stats())["interrupt_ms"]["count"] == 1
    assert live.session.observations()["counters"]["barge_ins"] == 1
    await agent.say(tone(0.2))  # and the agent goes on
    await agent.until_finished(2)
    assert not agent.finished[1]["interrupted"]


def silent(pcm: NDArray[np.int16], seconds: float) -> bool:
    """The newest of what was heard is, for so long."""
    newest = pcm[-round(seconds * RATE) :]
    return len(newest) >= seconds * RATE and bool(np.abs(newest.astype(np.int32)).max() < 100)


async def test_only_the_one_who_was_named_interrupts(
    perform: Perform, livekit: LiveKitAccess, agent: Agent, person: RoomSpeaker
) -> None:
    other = RoomSpeaker(livekit, RATE)
    await agent.join("named")
    await person.start("named", "guest")
    await other.start("named", "stranger")
    try:
        await perform("named", audio=AudioSpec("data_stream", "guest", "agent", barge_in=True))
        await agent.say(LONG, 8_000)
        await agent.until_started()
        await other.say(tone(1.0, RATE))
        await asyncio.sleep(0.5)
        assert agent.finished == []
        async with speaking(person, tone(0.5, RATE)):
            await agent.until_finished(1)
        assert agent.finished[0]["interrupted"]
    finally:
        await other.aclose()


async def test_nobody_interrupts_where_it_was_not_asked_for(
    perform: Perform, agent: Agent, person: RoomSpeaker
) -> None:
    await agent.join("polite")
    await person.start("polite")
    await perform("polite", audio=AudioSpec("data_stream", agent="agent"))
    await agent.say(tone(2.0))
    await agent.until_started()
    await person.say(tone(1.0, RATE))
    await agent.until_finished(1)
    assert not agent.finished[0]["interrupted"]


async def test_a_fault_in_listening_is_told_and_does_not_last(
    perform: Perform, agent: Agent, person: RoomSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> float:
        raise RuntimeError("no ears")

    await agent.join("faulty")
    await person.start("faulty")
    audio = AudioSpec("data_stream", agent="agent", barge_in=True)
    with monkeypatch.context() as faulty, capture_logs() as logs:
        faulty.setattr(barge_in, "loudness", broken)
        await perform("faulty", audio=audio)
        await until(lambda: told(logs) != [])
        await asyncio.sleep(0.5)
    assert told(logs) == ["no ears"]
    await agent.say(LONG, 8_000)
    await agent.until_started()
    stranger = Agent(agent.access, identity="stranger")
    async with speaking(person, tone(0.5, RATE)):
        await asyncio.sleep(0.5)
        assert agent.finished == []
        await stranger.join("faulty")  # a change, of which LiveKit tells up to 3 s later
        await agent.until_finished(1)
    assert agent.finished[0]["interrupted"]
    await stranger.leave()


def told(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    """The faults among what was logged."""
    return [str(line["exc_info"]) for line in logs if line["log_level"] == "error"]
