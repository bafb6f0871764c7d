"""Connections that break while an agent speaks: it is told of every segment all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from livekit import rtc

from app.rtc.measure.participant import LiveKitAccess
from app.sessions.spec import AudioSpec
from tests.e2e.conftest import Live
from tests.e2e.scripted import Agent, tone

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
STREAM = AudioSpec("data_stream", agent="agent")


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
    await agent.until_finished(1, 15.0)
    await asyncio.sleep(1.0)
    await agent.say(tone(0.3))
    await agent.until_finished(2, 15.0)
    assert await agent.clear() == "ok"
    assert len(agent.finished) == 2
    assert agent.finished[1]["playback_position"] == pytest.approx(0.3, abs=0.005)
    assert not live.task.done()


async def test_another_process_of_the_agent_is_served_on(
    perform: Perform, agent: Agent, livekit: LiveKitAccess
) -> None:
    await agent.join("returns")
    live = await perform("returns", audio=STREAM)
    await agent.say(tone(5.0))
    await agent.until_started()
    await agent.leave()
    another = Agent(livekit)
    await another.join("returns")
    assert await another.clear() == "ok"
    await another.say(tone(0.3))
    async with asyncio.timeout(10.0):
        while not any(not f["interrupted"] for f in another.finished):
            another.told.clear()
            await another.told.wait()
    assert another.finished[-1]["playback_position"] == pytest.approx(0.3, abs=0.005)
    assert not live.task.done()
    await another.leave()
