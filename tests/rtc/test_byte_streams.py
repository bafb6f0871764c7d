"""Whose packets count in a byte stream, without a room; real ones: tests/e2e/test_strangers.py."""

from __future__ import annotations

import asyncio
import zlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit import rtc
from livekit.rtc.event_emitter import EventEmitter

from app.rtc.input import byte_streams
from app.rtc.input.byte_streams import ByteStream, ByteStreams
from app.rtc.sdk import livekit_private
from app.rtc.sdk.livekit_private import RoomEvent

TOPIC = "lk.audio_stream"


class Room(EventEmitter[str]):
    """As much of a LiveKit room as streams need."""

    def __init__(self) -> None:
        super().__init__()
        self.remote_participants = {
            name: SimpleNamespace(identity=name, sid=f"PA_{name}") for name in ("agent", "stranger")
        }
        self.passed: list[RoomEvent] = []

    def _on_room_event(self, event: RoomEvent) -> None:
        self.passed.append(event)

    def joins_again(self, identity: str) -> None:
        """LiveKit tells of another connection under the same name."""
        who = self.remote_participants[identity]
        self.remote_participants[identity] = SimpleNamespace(identity=identity, sid=who.sid + "2")


class Scene:
    """A room with an agent and a stranger, and the streams that came of their packets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(livekit_private, "drop_handle", lambda _: None)
        self.room = Room()
        self.came: list[tuple[ByteStream, str]] = []
        self.streams = ByteStreams(
            cast(rtc.Room, self.room),
            TOPIC,
            lambda stream, sender: self.came.append((stream, sender)),
        )

    def header(self, stream_id: str, sender: str = "agent", size: int | None = None) -> None:
        event = RoomEvent()
        event.byte_stream_opened.participant_identity = sender
        info = event.byte_stream_opened.reader.info
        info.stream_id, info.topic, info.mime_type, info.name = stream_id, TOPIC, "", ""
        info.timestamp = 0
        if size is not None:
            info.total_length = size
        self.room._on_room_event(event)

    def chunk(self, stream_id: str, index: int, data: bytes, sender: str = "agent") -> None:
        event = RoomEvent()
        event.stream_chunk_received.participant_identity = sender
        chunk = event.stream_chunk_received.chunk
        chunk.stream_id, chunk.chunk_index, chunk.content = stream_id, index, data
        self.room._on_room_event(event)

    def trailer(self, stream_id: str, sender: str = "agent", reason: str = "") -> None:
        event = RoomEvent()
        event.stream_trailer_received.participant_identity = sender
        trailer = event.stream_trailer_received.trailer
        trailer.stream_id, trailer.reason = stream_id, reason
        self.room._on_room_event(event)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def read(stream: ByteStream) -> bytes:
    async with asyncio.timeout(5):
        return b"".join([piece async for piece in stream])


async def test_a_stream_is_its_senders_packets_in_order(scene: Scene) -> None:
    scene.header("s")
    for index, data in enumerate((b"one", b"", b"two")):
        scene.chunk("s", index, data)
        scene.chunk("s", index, data)  # sent again after a reconnect
    scene.trailer("s")
    stream, sender = scene.came[0]
    assert (await read(stream), sender) == (b"onetwo", "agent")
    assert scene.room.passed == []


async def test_a_strangers_packets_are_left_out(scene: Scene) -> None:
    scene.header("s")
    scene.chunk("s", 0, b"mine")
    scene.chunk("s", 1, b"hers", "stranger")
    scene.chunk("s", 99, b"hers", "stranger")
    scene.chunk("s", 1, b"nobody's", "")
    scene.trailer("s", "stranger")
    scene.trailer("s", "stranger", "broken")
    scene.chunk("s", 1, b" too")
    scene.trailer("s")
    assert await read(scene.came[0][0]) == b"mine too"


async def test_a_stranger_who_takes_the_id_has_a_stream_of_her_own(scene: Scene) -> None:
    scene.header("s")
    scene.chunk("s", 0, b"mine")
    scene.header("s", "stranger")
    scene.chunk("s", 0, b"hers", "stranger")
    scene.trailer("s", "stranger")
    scene.header("s")  # the agent's own, again: the open one stays
    scene.chunk("s", 1, b" too")
    scene.trailer("s")
    assert [sender for _, sender in scene.came] == ["agent", "stranger"]
    assert await read(scene.came[0][0]) == b"mine too"


async def test_another_connection_under_the_agents_name_is_somebody_else(scene: Scene) -> None:
    scene.header("s")
    scene.chunk("s", 0, b"mine")
    scene.room.joins_again("agent")
    scene.chunk("s", 1, b"hers")
    scene.trailer("s")
    assert not scene.came[0][0]._over
    scene.room.emit("participant_disconnected", scene.room.remote_participants["agent"])
    with pytest.raises(rtc.StreamError, match="left"):
        await read(scene.came[0][0])


@pytest.mark.parametrize("event", ["disconnected", "local_track_republished"])
async def test_a_lost_connection_breaks_streams_off(scene: Scene, event: str) -> None:
    scene.header("s")
    scene.chunk("s", 0, b"mine")
    scene.room.emit(event, None)
    assert await anext(scene.came[0][0]) == b"mine"
    with pytest.raises(rtc.StreamError):
        await anext(scene.came[0][0])


async def test_a_missing_piece_breaks_a_stream_off(scene: Scene) -> None:
    scene.header("s")
    scene.chunk("s", 1, b"late")
    with pytest.raises(rtc.StreamError, match="missing"):
        await read(scene.came[0][0])


@pytest.mark.parametrize("packed", [False, True])
async def test_a_stream_of_known_size_may_be_packed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(byte_streams, "_in_header_alone", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr(rtc, "ByteStreamReader", lambda _: None)
    content = b"sound" * 1000
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    sent = packer.compress(content) + packer.flush() if packed else content
    scene.header("s", size=len(content))
    scene.chunk("s", 0, sent[:7])
    scene.chunk("s", 1, sent[7:])
    scene.trailer("s")
    assert await read(scene.came[0][0]) == content


async def test_a_stream_does_not_grow_beyond_its_size(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_streams, "_in_header_alone", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr(rtc, "ByteStreamReader", lambda _: None)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    scene.header("s", size=1000)
    scene.chunk("s", 0, packer.compress(bytes(2**26)) + packer.flush(zlib.Z_SYNC_FLUSH)[:900])
    scene.trailer("s")
    with pytest.raises(rtc.StreamError):
        await read(scene.came[0][0])


IDS = st.sampled_from(["s", "t", "", "\N{PILE OF POO}" * 50])
SENDERS = st.sampled_from(["stranger", "agent ", "", "Agent"])
PACKETS = st.lists(
    st.one_of(
        st.tuples(st.just("header"), IDS, SENDERS, st.none()),
        st.tuples(
            st.just("chunk"),
            IDS,
            st.integers(0, 2**64 - 1) | st.integers(0, 5),
            st.binary(max_size=40),
            SENDERS,
        ),
        st.tuples(st.just("trailer"), IDS, SENDERS, st.text(max_size=5)),
    ),
    min_size=100,
    max_size=100,
)


@pytest.mark.slow
@settings(
    max_examples=100,
    deadline=None,  # a machine under load is not slow code; a hang fails in read()
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)
@given(PACKETS, st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=20))
def test_ten_thousand_forged_packets_change_nothing(
    monkeypatch: pytest.MonkeyPatch, packets: list[tuple[Any, ...]], speech: list[bytes]
) -> None:
    """A hundred times a hundred, between those of two open streams of the agent."""
    scene = Scene(monkeypatch)
    for stream_id in ("s", "t"):
        scene.header(stream_id)
    forged = iter(packets)
    for index, data in enumerate(speech):
        for _ in range(len(packets) // len(speech)):
            kind, *of = next(forged)
            getattr(scene, kind)(*of)
        for stream_id in ("s", "t"):
            scene.chunk(stream_id, index, data)
    for kind, *of in forged:
        getattr(scene, kind)(*of)
    for stream_id in ("s", "t"):
        scene.trailer(stream_id)
    own = [stream for stream, sender in scene.came if sender == "agent"]
    assert len(own) == 2

    async def heard() -> list[bytes]:
        return [await read(stream) for stream in own]

    assert asyncio.run(heard()) == [b"".join(speech)] * 2


@settings(
    max_examples=100, deadline=3000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("header"), IDS),
            st.tuples(st.just("chunk"), IDS, st.integers(0, 3), st.binary(max_size=40)),
            st.tuples(st.just("trailer"), IDS, st.just("agent"), st.text(max_size=2)),
            st.tuples(
                st.just("room"), st.sampled_from(["disconnected", "local_track_republished"])
            ),
        ),
        max_size=100,
    )
)
def test_whatever_its_own_agent_sends_no_stream_hangs(
    monkeypatch: pytest.MonkeyPatch, packets: list[tuple[Any, ...]]
) -> None:
    async def tried() -> None:
        scene = Scene(monkeypatch)
        for kind, *of in packets:
            if kind == "room":
                scene.room.emit(of[0], None)
            else:
                getattr(scene, kind)(*of)
        scene.streams.break_off("over")
        for stream, _ in scene.came:
            try:
                await read(stream)
            except rtc.StreamError:
                continue
        assert not scene.streams._open

    asyncio.run(tried())
