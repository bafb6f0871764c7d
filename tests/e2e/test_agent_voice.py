"""An agent's speech through a real room: every segment told once, interruptions, lost trailers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from app.rtc.input import agent_stream as agent_voice
from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.output.av_out import AvOut
from app.session_types import AudioSpec, EndReason, Outcome
from bench.clients.participant import LiveKitAccess
from tests.e2e.conftest import PATIENT, Live
from tests.e2e.scripted import Agent, tone
from tests.e2e.waiting import until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
STREAM = AudioSpec("data_stream", agent="agent")


async def test_every_segment_is_started_and_finished_once(perform: Perform, agent: Agent) -> None:
    await agent.join("accounts")
    await perform("accounts", audio=STREAM)
    await agent.say(tone(0.5))
    await agent.say(tone(0.3, 44_100, 2), 44_100, 2)
    await agent.say(tone(0.21, 8_000), 8_000)
    await agent.until_finished(3)
    assert len(agent.started) == 3
    assert [f["interrupted"] for f in agent.finished] == [False] * 3
    positions = [f["playback_position"] for f in agent.finished]
    assert positions == pytest.approx([0.5, 0.3, 0.21], abs=0.005)
    assert all(set(f) == {"playback_position", "interrupted", "synchronized_transcript"}
               for f in agent.finished)  # fmt: skip


async def test_a_cleared_segment_is_told_with_what_was_heard(
    perform: Perform, agent: Agent
) -> None:
    await agent.join("clear")
    await perform("clear", audio=STREAM)
    begun = time.monotonic()
    writer = await agent.open()
    await writer.write(tone(10.0).tobytes())
    await agent.until_started()
    await asyncio.sleep(0.5)
    assert await agent.clear() == "ok"
    heard_s = time.monotonic() - begun  # at most
    await writer.write(tone(1.0).tobytes())  # of the cleared segment still: never heard
    await writer.aclose()
    await agent.say(tone(0.2))
    await agent.until_finished(2)
    first, second = agent.finished
    assert first["interrupted"]
    assert 0 < first["playback_position"] < heard_s
    assert not second["interrupted"]
    assert second["playback_position"] == pytest.approx(0.2, abs=0.005)


async def test_segments_that_wait_are_told_too_when_all_is_cleared(
    perform: Perform, agent: Agent
) -> None:
    await agent.join("waiting")
    await perform("waiting", audio=STREAM)
    for _ in range(3):
        await agent.say(tone(15.0, 8_000), 8_000)
    await agent.until_started()
    await agent.clear()
    await agent.until_finished(3)
    assert [f["interrupted"] for f in agent.finished] == [True] * 3
    assert [f["playback_position"] for f in agent.finished][1:] == [0.0, 0.0]


async def test_what_was_heard_is_told_before_what_was_not(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "SUPERSEDED_S", 30.0)
    await agent.join("order")
    await perform("order", audio=STREAM)
    writer = await agent.open()
    await writer.write(tone(15.0).tobytes())
    for _ in range(2):
        await agent.say(tone(1.0))
    await agent.until_started()
    await asyncio.sleep(0.3)
    await agent.clear()
    await agent.until_finished(3)
    positions = [f["playback_position"] for f in agent.finished]
    assert positions[0] > 0
    assert positions[1:] == [0.0, 0.0]


async def test_the_limit_is_one_of_each_segment(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "LONGEST_S", 1.0)
    await agent.join("long")
    await perform("long", audio=STREAM)
    for _ in range(2):
        await agent.say(tone(0.8))
    await agent.until_finished(2)
    assert [f["interrupted"] for f in agent.finished] == [False] * 2
    positions = [f["playback_position"] for f in agent.finished]
    assert positions == pytest.approx([0.8, 0.8], abs=0.005)


async def test_what_waits_to_be_said_is_limited_in_all(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what has been taken in: here 5 s of each, so that the third and fourth are refused.

    Each is sent once the one before has come as far as it will: streams that come at the same time
    share the limit in the order of their pieces.
    """
    monkeypatch.setattr(agent_voice, "LONGEST_S", 5.0)
    await agent.join("flood")
    live = await perform("flood", audio=STREAM)
    voice = live.session._source
    assert isinstance(voice, AgentSpeech)
    out = voice._out
    assert isinstance(out, AvOut)
    most = tone(4.9, 8_000)
    await agent.say(most, 8_000)
    await until(lambda: out.accounts.open == 1 and voice._current is None, 0.01)
    await agent.say(most, 8_000)
    await until(lambda: voice._current is not None and voice._current._over, 0.01)
    for _ in range(2):
        await agent.say(most, 8_000)
    await agent.until_finished(4)
    await agent.say(tone(0.2))
    await agent.until_finished(5)
    assert [f["interrupted"] for f in agent.finished] == [False, False, True, True, False]
    positions = [f["playback_position"] for f in agent.finished]
    assert positions == pytest.approx([4.9, 4.9, 0.0, 0.0, 0.2], abs=0.005)
    assert len(agent.started) == 3, "of what is refused nothing is heard"


async def test_a_newer_stream_ends_one_that_lost_its_trailer(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "SUPERSEDED_S", 1.0)
    await agent.join("superseded")
    await perform("superseded", audio=STREAM)
    writer = await agent.open()
    await writer.write(tone(0.4).tobytes())
    await agent.say(tone(0.2))
    await agent.until_finished(2)
    assert [f["interrupted"] for f in agent.finished] == [True, False]
    positions = [f["playback_position"] for f in agent.finished]
    assert positions == pytest.approx([0.4, 0.2], abs=0.005)


async def test_a_trailer_that_never_comes_ends_the_segment_after_a_while(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "LOST_TRAILER_S", 1.0)
    await agent.join("lost")
    await perform("lost", audio=STREAM)
    writer = await agent.open()
    await writer.write(tone(0.3).tobytes())
    await agent.until_finished(1)
    assert agent.finished[0]["interrupted"]
    assert agent.finished[0]["playback_position"] == pytest.approx(0.3, abs=0.005)


async def test_audio_without_its_form_or_too_long_is_refused_and_told(
    perform: Perform, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_voice, "LONGEST_S", 1.0)
    await agent.join("refused")
    await perform("refused", audio=STREAM)
    writer = await agent.open(rate=0)
    await writer.write(tone(0.3).tobytes())
    await agent.until_finished(1)
    await agent.say(tone(1.5))
    await agent.until_finished(2)
    assert [f["interrupted"] for f in agent.finished] == [True, True]
    await agent.say(tone(0.2))
    await agent.until_finished(3)
    assert agent.finished[2]["playback_position"] == pytest.approx(0.2, abs=0.005)


async def test_what_is_refused_is_told_after_what_was_said_before_it(
    perform: Perform, agent: Agent
) -> None:
    await agent.join("refused")
    await perform("refused", audio=STREAM)
    await agent.say(tone(0.5))
    await agent.say(tone(0.2), rate=1)
    await agent.say(tone(0.3))
    await agent.until_finished(3)
    assert [f["interrupted"] for f in agent.finished] == [False, True, False]
    positions = [f["playback_position"] for f in agent.finished]
    assert positions == pytest.approx([0.5, 0.0, 0.3], abs=0.005)
    assert len(agent.started) == 2, "of what is refused nothing is heard"


async def test_agents_of_one_name_in_two_rooms_never_meet(
    perform: Perform, livekit: LiveKitAccess, agent: Agent
) -> None:
    other = Agent(livekit)
    await agent.join("twin-a")
    await other.join("twin-b")
    try:
        await perform("twin-a", audio=STREAM)
        await perform("twin-b", audio=STREAM)
        await agent.say(tone(15.0, 8_000), 8_000)
        await other.say(tone(0.8))
        await agent.until_started()
        await other.until_started()
        await agent.clear()
        await other.until_finished(1)
        await agent.until_finished(1)
    finally:
        await other.leave()
    assert agent.finished[0]["interrupted"]
    assert not other.finished[0]["interrupted"]


async def test_nobody_but_the_agent_may_clear_or_speak(
    perform: Perform, livekit: LiveKitAccess, agent: Agent
) -> None:
    stranger = Agent(livekit, identity="stranger")
    await agent.join("stranger")
    await stranger.join("stranger")
    try:
        await perform("stranger", audio=STREAM)
        await stranger.say(tone(0.5))
        await agent.say(tone(0.6))
        await agent.until_started()
        assert await stranger.clear() == "reject"
        await agent.until_finished(1)
    finally:
        await stranger.leave()
    assert agent.finished == [
        {
            "playback_position": pytest.approx(0.6, abs=0.005),
            "interrupted": False,
            "synchronized_transcript": None,
        }
    ]


async def test_an_agent_that_does_not_come_back_ends_the_session(
    perform: Perform, agent: Agent
) -> None:
    await agent.join("gone")
    live = await perform(
        "gone", audio=STREAM, limits=replace(PATIENT, participant_left_timeout_s=0.5)
    )
    await agent.leave()
    assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)


async def test_the_numbers_of_turns_and_interruptions_are_those_of_the_room(
    perform: Perform, agent: Agent
) -> None:
    await agent.join("numbers")
    live = await perform("numbers", audio=STREAM)
    begun = time.monotonic()
    await agent.say(tone(0.4))
    await agent.until_finished(1)
    await agent.clear()  # nothing is being said

    async def turns(count: int) -> bool:
        told: int = (await live.session.stats())["turn_start_ms"]["count"]
        return told == count

    await until(lambda: turns(1))
    await agent.say(tone(15.0, 8_000), 8_000)
    await agent.until_started(2)
    await until(lambda: turns(2))
    heard_of = time.monotonic() - begun
    await agent.clear()
    await agent.until_finished(2)
    stats, observed = await live.session.stats(), live.session.observations()
    assert stats["turn_start_ms"]["count"] == 2
    assert 0 < stats["turn_start_ms"]["p50"] < 1000 * heard_of
    assert stats["interrupt_ms"]["count"] == 1
    assert stats["interrupt_ms"]["p50"] > 0
    assert stats["segments"] == {"started": 2, "finished": 1, "interrupted": 1}
    assert sum(observed["histograms"]["turn_start"]["counts"]) == 2
    assert sum(observed["histograms"]["interrupt"]["counts"]) == 1
    assert sum(observed["histograms"]["join"]["counts"]) == 1
    assert observed["counters"]["segments_interrupted"] == 1
    assert "turn_start" not in live.session.observations()["histograms"]  # told once
