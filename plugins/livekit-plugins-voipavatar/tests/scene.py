"""An agent and its avatars in a room of a real LiveKit server: LIVEKIT_URL, …"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
from livekit import api, rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions
from livekit.plugins import voipavatar

if TYPE_CHECKING:
    from conftest import Service

RATE = 24_000
IDENTITY = "voipavatar-agent"
PATIENCE_S = 60.0  # only what never happens takes so long
NEVER_S = 600.0
QUICK = APIConnectOptions(max_retry=0, retry_interval=0.01, timeout=30.0)

Kind = Literal["standard", "agent"]


def token(room: str, identity: str, kind: Kind = "agent") -> str:
    return (
        api.AccessToken(os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"])
        .with_identity(identity)
        .with_kind(kind)
        .with_grants(api.VideoGrants(room_join=True, room=room))
        .to_jwt()
    )


async def enter(given: str) -> rtc.Room:
    room = rtc.Room()
    await room.connect(os.environ["LIVEKIT_URL"], given, rtc.RoomOptions(auto_subscribe=False))
    return room


async def join(name: str, identity: str, kind: Kind = "agent") -> rtc.Room:
    return await enter(token(name, identity, kind))


async def remove(room: rtc.Room, identity: str = IDENTITY) -> None:
    async with api.LiveKitAPI() as server:
        await server.room.remove_participant(
            api.RoomParticipantIdentity(room=room.name, identity=identity)
        )


@contextlib.asynccontextmanager
async def speaking(
    service: Service,
    room: rtc.Room,
    join_timeout: float,
    conn_options: APIConnectOptions = QUICK,
    **options: bool,
) -> AsyncIterator[tuple[AgentSession, voipavatar.AvatarSession]]:
    """An agent's session whose avatar is asked of the service."""
    avatar = voipavatar.AvatarSession(
        api_url=service.url,
        api_key="k",
        join_timeout=join_timeout,
        conn_options=conn_options,
        **options,
    )
    session: AgentSession = AgentSession()
    await avatar.start(session, room)
    await session.start(Agent(instructions=""), room=room, record=False)
    try:
        yield session, avatar
    finally:
        await session.aclose()
        await avatar.aclose()


def own_voices(room: rtc.Room) -> list[str]:
    """What an agent publishes itself."""
    return [each.name for each in room.local_participant.track_publications.values()]


async def speech(
    seconds: float, channels: int = 1, pace: float = 0.0
) -> AsyncIterator[rtc.AudioFrame]:
    """A tone, a tenth of a second every `pace` seconds."""
    turns = 220 * np.arange(RATE // 10) / RATE
    pcm = (5000 * np.sin(2 * np.pi * turns)).astype(np.int16).repeat(channels)
    for _ in range(round(seconds * 10)):
        yield rtc.AudioFrame(pcm.tobytes(), RATE, channels, RATE // 10)
        await asyncio.sleep(pace)


async def deaf_avatar(given: str) -> rtc.Room:
    """Joins and publishes, and never says what it has played."""
    joined = await enter(given)
    track = rtc.LocalVideoTrack.create_video_track("avatar-video", rtc.VideoSource(64, 64))
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
    await joined.local_participant.publish_track(track, options)
    return joined


class HearingAvatar:
    """Joins and publishes, and tells of each segment that it was heard when it has it whole."""

    def __init__(self, *, tells: bool = True) -> None:
        self.seconds = 0.0  # of speech that came in
        self.whole = 0  # segments
        self._tells = tells
        self._reading: set[asyncio.Task[None]] = set()

    async def enter(self, given: str) -> None:
        self.room = await deaf_avatar(given)
        self.room.register_byte_stream_handler("lk.audio_stream", self._on_stream)
        self.room.local_participant.register_rpc_method("lk.clear_buffer", lambda _: "ok")

    async def report(self, seconds: float, *, interrupted: bool) -> None:
        told = {"playback_position": seconds, "interrupted": interrupted}
        await self.room.local_participant.perform_rpc(
            destination_identity="agent", method="lk.playback_finished", payload=json.dumps(told)
        )

    def _on_stream(self, reader: rtc.ByteStreamReader, _: str) -> None:
        task = asyncio.create_task(self._read(reader))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read(self, reader: rtc.ByteStreamReader) -> None:
        came = 0.0
        async for chunk in reader:
            came += len(chunk) / 2 / RATE
            self.seconds += len(chunk) / 2 / RATE
        self.whole += 1
        if self._tells:
            await self.report(came, interrupted=False)


async def until(held: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Look again and again. Raises TimeoutError."""
    give_up = time.monotonic() + timeout_s
    while not held():
        if time.monotonic() > give_up:
            raise TimeoutError
        await asyncio.sleep(0.05)
