"""As much of `livekit.rtc.Room` as app/rtc uses, moved by the test instead of by a server.

Whether the real one behaves so is what tests/e2e sees; here are the rules that need a fault or a
minute of waiting.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc.event_emitter import EventEmitter

from app.rtc.sdk import livekit_private
from app.rtc.sdk.livekit_private import RoomEvent

KIND = rtc.ParticipantKind
SOURCE = rtc.TrackSource
FRAME_SAMPLES = {48_000: 1920, 16_000: 640}  # of 40 ms
Rpc = Callable[[rtc.RpcInvocationData], Awaitable[str]]

_numbers = itertools.count(1)


class Sound:
    """A remote track: what the test speaks into it, its readers hear."""

    def __init__(self) -> None:
        self.sid = f"TR_{next(_numbers)}"
        self.frames: asyncio.Queue[np.ndarray[Any, np.dtype[np.int16]] | None] = asyncio.Queue()
        self.readers = 0

    def speak(self, pieces: int, level: float = 0.3, rate: int = 48_000) -> None:
        """Pieces of 40 ms."""
        for _ in range(pieces):
            self.frames.put_nowait(np.full(FRAME_SAMPLES[rate], level * 32767, np.int16))


class HeardSound:
    """In place of `rtc.AudioStream`."""

    def __init__(self, track: Sound, **_: object) -> None:
        self._track = track
        track.readers += 1

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (pcm := await self._track.frames.get()) is not None:
            yield SimpleNamespace(frame=SimpleNamespace(data=pcm.tobytes()))

    async def aclose(self) -> None:
        self._track.readers -= 1


@dataclass(eq=False)
class Publication:
    """A track of somebody else; `track` is there while it is subscribed."""

    room: FakeRoom = field(repr=False)
    sound: Sound = field(default_factory=Sound)
    name: str = ""
    kind: int = rtc.TrackKind.KIND_AUDIO
    source: int = SOURCE.SOURCE_MICROPHONE
    muted: bool = False
    encryption_type: int = rtc.EncryptionType.NONE
    subscribed: bool = False

    @property
    def sid(self) -> str:
        return self.sound.sid

    @property
    def track(self) -> Sound | None:
        return self.sound if self.subscribed else None

    def set_subscribed(self, wanted: bool) -> None:
        self.subscribed = wanted
        event = "track_subscribed" if wanted else "track_unsubscribed"
        asyncio.get_running_loop().call_soon(self.room.emit, event)

    def mute(self, muted: bool = True) -> None:
        self.muted = muted
        self.room.emit("track_muted" if muted else "track_unmuted")


@dataclass(eq=False)
class Person:
    """A remote participant."""

    identity: str
    sid: str = field(default_factory=lambda: f"PA_{next(_numbers)}")
    kind: int = KIND.PARTICIPANT_KIND_STANDARD
    attributes: dict[str, str] = field(default_factory=dict)
    track_publications: dict[str, Publication] = field(default_factory=dict)
    disconnect_reason: int | None = None


@dataclass
class Us:
    """The local participant: what was published, which methods it has, whom it called."""

    published: list[object] = field(default_factory=list)
    methods: dict[str, Rpc] = field(default_factory=dict)
    calls: list[tuple[str, str, str]] = field(default_factory=list)  # to, method, payload
    rpc_error: rtc.RpcError | None = None
    publish_error: Exception | None = None

    async def publish_track(self, track: object, options: object) -> None:
        if self.publish_error is not None:
            raise self.publish_error
        self.published.append(track)

    def register_rpc_method(self, name: str, handler: Rpc) -> None:
        self.methods[name] = handler

    def unregister_rpc_method(self, name: str) -> None:
        del self.methods[name]

    async def perform_rpc(
        self, *, destination_identity: str, method: str, payload: str, response_timeout: float
    ) -> str:
        self.calls.append((destination_identity, method, payload))
        if self.rpc_error is not None:
            raise self.rpc_error
        return "ok"


class FakeRoom(EventEmitter[str]):
    def __init__(self, sid: str = "RM_1") -> None:
        super().__init__()
        self.name_of_room = sid
        self.token: str | None = None
        self.remote_participants: dict[str, Person] = {}
        self.local_participant = Us()
        self.e2ee_manager = SimpleNamespace(enabled=False)
        self.connected = False
        self.connecting: Callable[[], Awaitable[None]] | None = None

    @property
    def as_room(self) -> rtc.Room:
        return cast(rtc.Room, self)

    @property
    async def sid(self) -> str:
        return self.name_of_room

    def isconnected(self) -> bool:
        return self.connected

    async def connect(self, url: str, token: str, options: object) -> None:
        self.token = token
        if self.connecting is not None:
            await self.connecting()
        self.connected = True

    async def disconnect(self) -> None:
        self.connected = False

    def register_byte_stream_handler(self, topic: str, handler: object) -> None:
        """Nothing of other topics comes here."""

    def register_text_stream_handler(self, topic: str, handler: object) -> None:
        """Nothing of it comes here."""

    def _on_room_event(self, event: RoomEvent) -> None:
        """What nobody tapped."""

    # What the test makes happen.

    def comes(self, identity: str, *, kind: int = KIND.PARTICIPANT_KIND_STANDARD) -> Person:
        person = Person(identity, kind=kind)
        self.remote_participants[identity] = person
        self.emit("participant_connected", person)
        return person

    def goes(self, identity: str, reason: int | None = None) -> None:
        person = self.remote_participants.pop(identity)
        person.disconnect_reason = reason
        self.emit("participant_disconnected", person)

    def publishes(self, person: Person, name: str = "", **more: Any) -> Publication:
        publication = Publication(self, name=name, **more)
        person.track_publications[publication.sid] = publication
        self.emit("track_published", publication, person)
        return publication

    def unpublishes(self, person: Person, publication: Publication) -> None:
        del person.track_publications[publication.sid]
        self.emit("track_unpublished", publication, person)

    def drops(self, reason: rtc.DisconnectReason.ValueType) -> None:
        """LiveKit, or its library, ends the connection."""
        self.connected = False
        self.emit("disconnected", reason)

    async def calls_us(self, method: str, caller: str) -> str:
        call = rtc.RpcInvocationData("rpc_1", caller, "", 5.0)
        return await self.local_participant.methods[method](call)

    def opens(self, sender: str, stream_id: str, attributes: dict[str, str]) -> None:
        """The header of a byte stream of the agent's topic."""
        event = RoomEvent()
        event.byte_stream_opened.participant_identity = sender
        info = event.byte_stream_opened.reader.info
        info.stream_id, info.topic, info.mime_type, info.name = stream_id, "lk.audio_stream", "", ""
        info.timestamp = 0
        info.attributes.update(attributes)
        self._on_room_event(event)

    def sends(self, sender: str, stream_id: str, index: int, data: bytes) -> None:
        event = RoomEvent()
        event.stream_chunk_received.participant_identity = sender
        chunk = event.stream_chunk_received.chunk
        chunk.stream_id, chunk.chunk_index, chunk.content = stream_id, index, data
        self._on_room_event(event)

    def ends(self, sender: str, stream_id: str) -> None:
        event = RoomEvent()
        event.stream_trailer_received.participant_identity = sender
        event.stream_trailer_received.trailer.stream_id = stream_id
        self._on_room_event(event)


class FakeLiveKit:
    """Makes the rooms of `rtc.Room()`: the n-th as `script[n]` says, later ones as the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rooms: list[FakeRoom] = []
        self.joined_at: list[float] = []  # moments of the attempts
        self.script: list[Callable[[FakeRoom], None]] = [lambda _: None]
        monkeypatch.setattr(rtc, "Room", self._make)
        monkeypatch.setattr(rtc, "AudioStream", HeardSound)
        monkeypatch.setattr(livekit_private, "drop_handle", lambda _: None)

    @property
    def room(self) -> FakeRoom:
        return self.rooms[-1]

    def _make(self) -> FakeRoom:
        room = FakeRoom()
        number = min(len(self.rooms), len(self.script) - 1)
        self.rooms.append(room)
        self.joined_at.append(asyncio.get_running_loop().time())
        self.script[number](room)
        return room


def refuses(message: str = "connection failed") -> Callable[[FakeRoom], None]:
    """A room whose connection fails with LiveKit's words."""

    def make(room: FakeRoom) -> None:
        async def fail() -> None:
            raise rtc.ConnectError(message)

        room.connecting = fail

    return make


def hangs(room: FakeRoom) -> None:
    """A room whose server never answers."""

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    room.connecting = wait
