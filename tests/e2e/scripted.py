"""An agent that does what a script says: the agent's side of livekit.md §1, without its package."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import api, rtc
from numpy.typing import NDArray

from bench.clients.participant import LiveKitAccess
from tests.e2e.waiting import PATIENCE_S

AVATAR = "avatar"


def tone(seconds: float, rate: int = 24_000, channels: int = 1) -> NDArray[np.int16]:
    """(n * channels,) interleaved, loud all the way."""
    t = np.arange(int(seconds * rate)) / rate
    mono = (8000 * np.sin(2 * np.pi * 220 * t)).astype(np.int16)
    return np.repeat(mono, channels)


@dataclass
class Agent:
    """Joins as an agent; keeps what it is told."""

    access: LiveKitAccess
    identity: str = "agent"
    encryption: rtc.E2EEOptions | None = None
    room: rtc.Room = field(default_factory=rtc.Room)
    started: list[float] = field(default_factory=list)
    finished: list[dict[str, Any]] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def join(self, name: str) -> None:
        token = (
            api.AccessToken(self.access.key, self.access.secret)
            .with_identity(self.identity)
            .with_kind("agent")
            .with_grants(api.VideoGrants(room_join=True, room=name))
            .to_jwt()
        )
        options = rtc.RoomOptions(
            auto_subscribe=False, connect_timeout=PATIENCE_S, encryption=self.encryption
        )
        await self.room.connect(self.access.url, token, options)
        self.room.local_participant.register_rpc_method("lk.playback_started", self._started)
        self.room.local_participant.register_rpc_method("lk.playback_finished", self._finished)

    async def open(self, rate: int = 24_000, channels: int = 1) -> rtc.ByteStreamWriter:
        return await self.room.local_participant.stream_bytes(
            name="AUDIO_test",
            topic="lk.audio_stream",
            destination_identities=[AVATAR],
            attributes={"sample_rate": str(rate), "num_channels": str(channels)},
        )

    async def say(self, pcm: NDArray[np.int16], rate: int = 24_000, channels: int = 1) -> None:
        writer = await self.open(rate, channels)
        await writer.write(pcm.tobytes())
        await writer.aclose()

    async def clear(self) -> str:
        return await self.room.local_participant.perform_rpc(
            destination_identity=AVATAR, method="lk.clear_buffer", payload=""
        )

    async def until_started(self, count: int = 1) -> None:
        await self._until(self.started, count)

    async def until_finished(self, count: int) -> None:
        await self._until(self.finished, count)

    async def _until(self, events: Sized, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(events) < count:
                self.told.clear()
                await self.told.wait()

    async def leave(self) -> None:
        await self.room.disconnect()

    def _started(self, _: rtc.RpcInvocationData) -> str:
        self.started.append(time.monotonic())
        self.told.set()
        return "ok"

    def _finished(self, call: rtc.RpcInvocationData) -> str:
        self.finished.append(json.loads(call.payload))
        self.told.set()
        return "ok"
