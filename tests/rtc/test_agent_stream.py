"""An agent's byte streams and its clears: what is played, what is told, how long is waited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from livekit import rtc

from app.rtc.input.agent_stream import CLEAR, AgentSpeech
from app.rtc.output.playback_reporter import FINISHED
from tests.rtc.fake_output import FakeOutput
from tests.rtc.fake_room import FakeLiveKit, FakeRoom
from tests.virtual_time import now, settle, virtual_time

FORM = {"sample_rate": "24000", "num_channels": "1"}
SECOND = b"\1\0" * 24_000
BEGUN, ENDED, LOST, CLEARED = ("begin", 24_000), ("end", False), ("end", True), ("clear",)


class Scene:
    """An agent in a room with the avatar that plays its speech."""

    def __init__(self, room: FakeRoom) -> None:
        self.room = room
        self.out = FakeOutput()
        self.absences: list[bool] = []
        self.voice = AgentSpeech(self.out, "agent", self.absences.append)
        room.connected = True

    def told(self) -> list[bool]:
        """Whether interrupted, of each segment that the agent was told of."""
        return [
            json.loads(body)["interrupted"]
            for to, method, body in self.room.local_participant.calls
            if (to, method) == ("agent", FINISHED)
        ]


@asynccontextmanager
async def scene(monkeypatch: pytest.MonkeyPatch, *, agent: bool = True) -> AsyncIterator[Scene]:
    FakeLiveKit(monkeypatch)
    made = Scene(FakeRoom())
    if agent:
        made.room.comes("agent")
    made.voice.attach(made.room.as_room)
    running = asyncio.create_task(made.voice.run())
    await settle()
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.voice.aclose()


@virtual_time
async def test_a_segment_is_played_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        it.room.sends("agent", "s", 0, SECOND)
        it.room.ends("agent", "s")
        await settle()
        assert it.out.done == [BEGUN, ENDED]
        assert it.out.heard == 24_000
        assert it.told() == [False]


@virtual_time
async def test_a_sample_cut_in_two_by_packets_is_whole_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        for index in range(4):
            it.room.sends("agent", "s", index, b"\1\0\1")
        it.room.ends("agent", "s")
        await settle()
        assert it.out.heard == 6


@virtual_time
async def test_a_trailer_that_never_comes_is_waited_for_10_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        it.room.sends("agent", "s", 0, SECOND)
        await asyncio.sleep(9.9)
        assert it.out.done == [BEGUN]
        await asyncio.sleep(0.2)
        assert it.out.done == [BEGUN, LOST]
        assert it.told() == [True]


@virtual_time
async def test_each_byte_begins_the_10_s_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        for index in range(5):
            it.room.sends("agent", "s", index, SECOND)
            await asyncio.sleep(9)
        it.room.ends("agent", "s")
        await settle()
        assert it.out.done == [BEGUN, ENDED]


@virtual_time
async def test_a_newer_stream_supersedes_one_without_trailer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        it.room.sends("agent", "s", 0, SECOND)
        await asyncio.sleep(1)
        it.room.opens("agent", "t", FORM)
        it.room.ends("agent", "t")
        await asyncio.sleep(0.3)
        assert it.out.done == [BEGUN, LOST, BEGUN, ENDED]
        assert it.told() == [True, False]


@virtual_time
async def test_a_clear_is_answered_and_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        it.room.sends("agent", "s", 0, SECOND)
        await settle()
        assert await it.room.calls_us(CLEAR, "agent") == "ok"
        await settle()
        assert it.out.done == [BEGUN, CLEARED]
        assert it.told() == [True]
        it.room.sends("agent", "s", 1, SECOND)
        await settle()
        assert it.out.heard == 24_000
        assert now() == 0


@virtual_time
async def test_a_clear_finishes_the_segments_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        for name in ("s", "t", "u"):
            it.room.opens("agent", name, FORM)
        await settle()
        await it.room.calls_us(CLEAR, "agent")
        await settle()
        assert it.told() == [True, True, True]


@virtual_time
async def test_nobody_else_clears_or_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.room.comes("eve")
        it.room.opens("agent", "s", FORM)
        it.room.opens("eve", "x", FORM)
        it.room.sends("eve", "x", 0, SECOND)
        assert await it.room.calls_us(CLEAR, "eve") == "reject"
        await settle()
        assert it.out.done == [BEGUN]
        assert it.out.heard == 0


@virtual_time
async def test_a_form_that_is_not_told_is_refused_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", {"sample_rate": "many"})
        await settle()
        assert it.out.done == [("begin", 48_000), LOST]
        assert it.told() == [True]


@virtual_time
async def test_a_segment_over_ten_minutes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        for index in range(650):
            it.room.sends("agent", "s", index, SECOND)
            await settle()
        assert it.told() == [True]
        assert it.out.heard == 600 * 24_000
        assert it.out.done == [BEGUN, CLEARED]


@virtual_time
async def test_what_waits_is_taken_in_as_it_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.out.waiting_s = 700.0
        it.room.opens("agent", "s", FORM)
        it.room.sends("agent", "s", 0, SECOND)
        await asyncio.sleep(5)
        assert it.out.heard == 0
        it.out.waiting_s = 599.0
        await asyncio.sleep(0.2)
        assert it.out.heard == 24_000


@virtual_time
async def test_an_agent_that_stays_away_for_5_s_is_silenced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        await settle()
        it.room.goes("agent", rtc.DisconnectReason.CONNECTION_TIMEOUT)
        assert it.absences == [True]
        await asyncio.sleep(4.9)
        assert CLEARED not in it.out.done
        await asyncio.sleep(0.2)
        assert CLEARED in it.out.done


@virtual_time
async def test_an_agent_that_is_back_within_5_s_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        it.room.goes("agent", rtc.DisconnectReason.CONNECTION_TIMEOUT)
        await asyncio.sleep(4)
        it.room.comes("agent")
        await asyncio.sleep(60)
        assert it.absences == [True, False]
        assert it.out.done == []


@virtual_time
async def test_an_agent_that_leaves_for_good_is_dropped_untold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        await settle()
        it.room.goes("agent", rtc.DisconnectReason.CLIENT_INITIATED)
        await asyncio.sleep(20)
        assert it.out.done[:2] == [BEGUN, CLEARED]
        assert it.told() == []


@virtual_time
async def test_an_agent_that_has_not_come_counts_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch, agent=False) as it:
        assert it.absences == [True]
        it.room.opens("agent", "s", FORM)  # LiveKit tells of it up to 3 s late
        await settle()
        assert it.absences == [True, False]
        assert it.out.done == [BEGUN]


@virtual_time
async def test_a_room_that_was_left_keeps_no_method(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(monkeypatch) as it:
        left = it.room
        it.room = FakeRoom("RM_2")
        it.room.comes("agent")
        it.voice.attach(it.room.as_room)
        assert left.local_participant.methods == {}
        assert CLEAR in it.room.local_participant.methods


@virtual_time
async def test_the_end_of_a_session_is_told_before_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene(monkeypatch) as it:
        it.room.opens("agent", "s", FORM)
        await settle()
        await it.voice.drain()
        assert it.told() == [True]
