"""What others in a room send to an avatar that an agent speaks through: nothing of it counts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from livekit import rtc

from app.rtc.input.agent_stream import AgentSpeech
from app.rtc.sdk.livekit_private import FfiRequest, request
from app.session_types import AudioSpec
from bench.clients.participant import LiveKitAccess
from tests.e2e.conftest import Live
from tests.e2e.scripted import AVATAR, Agent, tone
from tests.e2e.waiting import until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
STREAM = AudioSpec("data_stream", agent="agent")
NOTHING = {"playback_position": 0, "interrupted": True, "synchronized_transcript": None}


@pytest.fixture
async def stranger(livekit: LiveKitAccess) -> AsyncIterator[Agent]:
    """An agent as well: such a one may do most."""
    stranger = Agent(livekit, identity="stranger")
    yield stranger
    await stranger.leave()


class Forger:
    """Sends packets of streams below the SDK, whose writers would choose the id themselves."""

    def __init__(self, room: rtc.Room) -> None:
        self._room = room

    def chunk(self, stream_id: str, index: int, content: bytes) -> None:
        wanted, part = self._request("send_stream_chunk")
        part.chunk.stream_id, part.chunk.chunk_index = stream_id, index
        part.chunk.content = content
        request(wanted)

    def trailer(self, stream_id: str) -> None:
        wanted, part = self._request("send_stream_trailer")
        part.trailer.stream_id, part.trailer.reason = stream_id, ""
        request(wanted)

    def header(self, stream_id: str, sender: str, *, text: bool = False) -> None:
        wanted, part = self._request("send_stream_header")
        part.sender_identity = sender
        header = part.header
        header.stream_id, header.topic = stream_id, "lk.audio_stream"
        header.timestamp, header.mime_type = 0, ""
        header.attributes["sample_rate"], header.attributes["num_channels"] = "24000", "1"
        if text:
            header.text_header.operation_type = 0
        else:
            header.byte_header.name = "AUDIO_forged"
        request(wanted)

    def _request(self, kind: str) -> tuple[FfiRequest, Any]:
        wanted = FfiRequest()
        part = getattr(wanted, kind)
        part.local_participant_handle = self._room.local_participant._ffi_handle.handle
        part.sender_identity = self._room.local_participant.identity
        part.destination_identities.append(AVATAR)
        return wanted, part


def voice_of(live: Live) -> AgentSpeech:
    assert isinstance(live.session._source, AgentSpeech)
    return live.session._source


def tampered(live: Live) -> bool:
    """Packets of somebody else have come in the agent's open stream."""
    streams = voice_of(live)._streams
    return streams is not None and any(each.tampered for each in streams._open.values())


async def test_a_strangers_packets_under_the_id_of_the_agents_stream(
    perform: Perform, agent: Agent, stranger: Agent
) -> None:
    await agent.join("inject")
    await stranger.join("inject")
    live = await perform("inject", audio=STREAM)
    await asyncio.sleep(0.5)
    writer = await agent.open()
    await writer.write(tone(0.5).tobytes())
    await agent.until_started()
    forger, stream_id = Forger(stranger.room), writer.info.stream_id
    forger.header(stream_id, "agent")
    forger.header(stream_id, "agent", text=True)  # LiveKit lets agents name another sender here
    for index in (1, 2, 3, 77):
        forger.chunk(stream_id, index, tone(1.0).tobytes()[:15_000])
    forger.trailer(stream_id)
    await until(lambda: tampered(live))
    await asyncio.sleep(0.5)
    assert not agent.finished
    await writer.write(tone(0.5).tobytes())
    await writer.aclose()
    await agent.until_finished(1)
    assert agent.finished == [
        {
            "playback_position": pytest.approx(1.0, abs=0.005),
            "interrupted": False,
            "synchronized_transcript": None,
        }
    ]


async def test_somebody_who_takes_the_agents_name_does_not_go_on_with_its_stream(
    perform: Perform, agent: Agent, livekit: LiveKitAccess
) -> None:
    await agent.join("taken")
    live = await perform("taken", audio=STREAM)
    await asyncio.sleep(0.5)
    writer = await agent.open()
    await writer.write(tone(0.3).tobytes())
    await agent.until_started()
    false = Agent(livekit)
    try:
        await false.join("taken")
        forger = Forger(false.room)
        for index in (1, 2, 3):
            forger.chunk(writer.info.stream_id, index, tone(1.0).tobytes()[:15_000])
        forger.trailer(writer.info.stream_id)
        await false.until_finished(1)  # under this name LiveKit reaches nobody else any more
        assert false.finished[0]["interrupted"]
        assert false.finished[0]["playback_position"] == pytest.approx(0.3, abs=0.005)
        await until(lambda: voice_of(live)._current is None)
    finally:
        await false.leave()


async def test_another_agent_is_told_at_once_that_nothing_is_played(
    perform: Perform, agent: Agent, stranger: Agent
) -> None:
    await agent.join("another")
    await stranger.join("another")
    live = await perform("another", audio=STREAM)
    await asyncio.sleep(0.5)
    for _ in range(2):
        await stranger.say(tone(0.5))
    await stranger.until_finished(2)
    assert await stranger.clear() == "reject"
    await stranger.until_finished(3)
    assert stranger.finished == [NOTHING] * 3
    assert not stranger.started
    assert not agent.finished
    assert (await live.session.stats())["segments"]["started"] == 0


@pytest.mark.parametrize("size", [300, 200_000], ids=["in its header alone", "in pieces"])
@pytest.mark.parametrize("noise", [False, True], ids=["packed", "not to be packed"])
async def test_a_segment_sent_in_one_go_is_heard(
    perform: Perform, agent: Agent, size: int, noise: bool
) -> None:
    room = f"whole-{size}-{noise}"
    await agent.join(room)
    await perform(room, audio=STREAM)
    await asyncio.sleep(0.5)
    rate = 192_000 if size > 300 else 4_000
    await agent.room.local_participant.send_bytes(
        os.urandom(size) if noise else bytes(size),
        name="AUDIO_whole",
        topic="lk.audio_stream",
        destination_identities=[AVATAR],
        attributes={"sample_rate": str(rate), "num_channels": "1"},
    )
    await agent.until_finished(1)
    assert not agent.finished[0]["interrupted"]
    assert agent.finished[0]["playback_position"] == pytest.approx(size / 2 / rate, abs=0.005)
