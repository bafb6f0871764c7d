"""Connections that break while an agent speaks: it is told of every segment all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from livekit import rtc

from app.rtc.input import agent_stream as agent_voice
from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.output.av_out import AvOut
from app.session_types import AudioSpec, EndReason, Limits, Outcome
from bench.clients.participant import LiveKitAccess
from tests.e2e.conftest import PATIENT, Live
from tests.e2e.scripted import Agent, tone
from tests.e2e.waiting import PATIENCE_S, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
STREAM = AudioSpec("data_stream", agent="agent")


async def until_all_came_in(live: Live, segments: int) -> None:
    """The avatar has read so many to their ends, and not said them."""
    voice = live.session._source
    assert isinstance(voice, AgentSpeech)
    out = voice._out
    assert isinstance(out, AvOut)
    await until(lambda: out.accounts.open == segments and voice._current is None)


@pytest.mark.parametrize(
    "scenario",
    [
        rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT,
        rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT,
    ],
)
async def test_the_avatar_reconnects_while_it_speaks(
    perform: Perform, agent: Agent, scenario: rtc.SimulateScenarioKind.ValueType
) -> None:
    await agent.join(f"avatar-reconnects-{scenario}")
    live = await perform(f"avatar-reconnects-{scenario}", audio=STREAM)
    assert live.session.room is not None
    await agent.say(tone(2.0))
    await agent.until_started()
    await live.session.room.simulate(scenario)
    await agent.until_finished(1)
    await asyncio.sleep(1.0)
    await agent.say(tone(0.3))
    await agent.until_finished(2)
    assert await agent.clear() == "ok"
    assert len(agent.finished) == 2
    assert agent.finished[1]["playback_position"] == pytest.approx(0.3, abs=0.005)
    assert not live.task.done()


@pytest.mark.parametrize("away_s", [0.0, 3.5])  # LiveKit tells of a change up to 3 s late
async def test_another_process_of_the_agent_is_told_of_its_own_speech_only(
    perform: Perform, agent: Agent, livekit: LiveKitAccess, away_s: float
) -> None:
    room = f"returns-{away_s}"
    await agent.join(room)
    live = await perform(room, audio=STREAM)
    for _ in range(2):
        await agent.say(tone(8.0, 8_000), 8_000)
    await agent.until_started()
    await until_all_came_in(live, 2)
    await agent.leave()
    await asyncio.sleep(away_s)
    another = Agent(livekit)
    await another.join(room)
    for _ in range(2):
        await another.say(tone(0.3))
    await another.until_finished(2)
    await asyncio.sleep(1.0)
    assert [f["interrupted"] for f in another.finished] == [False] * 2
    positions = [f["playback_position"] for f in another.finished]
    assert positions == pytest.approx([0.3, 0.3], abs=0.005)
    assert len(another.started) == 2
    assert (await live.session.stats())["segments"]["interrupted"] == 2
    assert await another.clear() == "ok"
    assert not live.task.done()
    await another.leave()


async def test_an_agent_that_has_left_is_not_heard_on(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "ABSENCE_S", 2 * PATIENCE_S)  # for one that may come back
    await agent.join("leaves")
    live = await perform("leaves", audio=STREAM)
    await agent.say(tone(14.0, 8_000), 8_000)
    await agent.until_started()
    await until_all_came_in(live, 1)
    await agent.leave()

    async def silenced() -> bool:
        return bool((await live.session.stats())["segments"]["interrupted"])

    await until(silenced)


async def test_an_agent_that_is_connected_anew_is_told_of_what_it_said_before(
    perform: Perform, agent: Agent
) -> None:
    await agent.join("anew")
    live = await perform("anew", audio=STREAM)
    await asyncio.sleep(0.5)
    await agent.say(tone(4.0, 8_000), 8_000)
    await agent.until_started()
    await until_all_came_in(live, 1)
    await agent.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await agent.until_finished(1)
    assert not agent.finished[0]["interrupted"]
    assert agent.finished[0]["playback_position"] == pytest.approx(4.0, abs=0.005)
    await agent.say(tone(0.3))
    await agent.until_finished(2)
    assert agent.finished[1]["playback_position"] == pytest.approx(0.3, abs=0.005)


async def test_an_agent_that_never_comes_ends_the_session(perform: Perform) -> None:
    live = await perform("never", audio=STREAM, limits=Limits(participant_left_timeout_s=1.0))
    assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)


async def test_an_agent_that_comes_in_time_keeps_the_session(
    perform: Perform, agent: Agent
) -> None:
    limits = replace(PATIENT, participant_left_timeout_s=7.0)
    live = await perform("comes", audio=STREAM, limits=limits)
    await agent.join("comes")
    await agent.say(tone(0.2))
    await agent.until_finished(1)
    await asyncio.sleep(7.0)
    assert not live.task.done()
