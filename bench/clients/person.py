"""A load client that talks all the time and counts the avatar's pictures cheaply."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import rtc

from bench.clients.participant import LiveKitAccess, join_avatar
from bench.measure.pace import pace, widest_gap
from bench.measure.recording import Pcm

QUEUE_MS = 200
LOOK_S = 0.5  # between two reads of the SDK's counters


@dataclass(slots=True)
class _Counted:
    """What was received since `Person.begin`."""

    since: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    looks: list[tuple[float, int, float, float]] = field(default_factory=list)


class Person:
    """Talks in a room and watches one avatar.

    `decode`: every picture is handed over and its arrival stamped. Otherwise the SDK's own
    counters are read twice a second; they bound the longest gap from above. (The SDK decodes
    either way, 0.35 ms a picture at 512 x 512; what is spared is handing the pictures over.)
    """

    def __init__(
        self,
        access: LiveKitAccess,
        avatar: str,
        talk: Iterator[Pcm] | None,
        rate: int,
        *,
        decode: bool,
    ) -> None:
        """`talk`: endless 40 ms pieces; None: only watches."""
        self._access = access
        self._avatar = avatar
        self._talk = talk
        self._rate = rate
        self._decode = decode
        self._room = rtc.Room()
        self._source = rtc.AudioSource(rate, 1, QUEUE_MS)
        self._tasks: list[asyncio.Task[None]] = []
        self._counted = _Counted()
        self._sound: rtc.Track | None = None

    async def start(self, room: str, identity: str) -> None:
        """Join, publish the microphone, begin to talk. Raises rtc.ConnectError."""
        await join_avatar(self._room, self._access, room, identity, self._avatar, self._take)
        if self._talk is None:
            return
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._room.local_participant.publish_track(track, options)
        self._tasks.append(asyncio.create_task(self._say(self._talk)))

    def begin(self) -> None:
        """Forget what was counted; count from now on."""
        self._counted = _Counted(time.monotonic())

    async def result(self) -> dict[str, Any]:
        """What was received since `begin` (`since`): fps, longest_gap_ms, gaps and arrivals (None
        where only counted), concealed_share of the sound since the session's start."""
        counted = self._counted
        body = _of_arrivals(counted) if self._decode else _of_looks(counted)
        concealed = await self._concealed()
        return {**body, "since": counted.since, "concealed_share": concealed}

    async def aclose(self) -> None:
        """Leave. Idempotent."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._room.disconnect()
        await self._source.aclose()

    async def _say(self, talk: Iterator[Pcm]) -> None:
        for pcm in talk:
            frame = rtc.AudioFrame(pcm.tobytes(), self._rate, 1, len(pcm))
            await self._source.capture_frame(frame)

    def _take(self, track: rtc.RemoteTrack) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self._sound = track
            return
        watch = self._stamp if self._decode else self._look
        self._tasks.append(asyncio.create_task(watch(track)))

    async def _stamp(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.VideoStream(track)
        try:
            async for _ in stream:
                self._counted.arrivals.append(time.monotonic())
        finally:
            await stream.aclose()

    async def _look(self, track: rtc.RemoteTrack) -> None:
        while True:
            received = await _inbound(track)
            if received is not None:
                self._counted.looks.append(
                    (
                        time.monotonic(),
                        int(received.frames_decoded),
                        float(received.total_inter_frame_delay),
                        float(received.total_squared_inter_frame_delay),
                    )
                )
            await asyncio.sleep(LOOK_S)

    async def _concealed(self) -> float | None:
        received = None if self._sound is None else await _inbound(self._sound)
        if received is None or not received.total_samples_received:
            return None
        return float(received.concealed_samples / received.total_samples_received)


async def _inbound(track: rtc.Track) -> Any:
    for stats in await track.get_stats():
        if stats.WhichOneof("stats") == "inbound_rtp":
            return stats.inbound_rtp.inbound
    return None


def _of_arrivals(counted: _Counted) -> dict[str, Any]:
    arrived = pace(np.array(counted.arrivals, np.float64))
    return {
        "fps": arrived.fps,
        "longest_gap_ms": arrived.longest_gap_s * 1000,
        "gaps": arrived.gaps,
        "arrivals": counted.arrivals,
    }


def _of_looks(counted: _Counted) -> dict[str, Any]:
    table = np.array(counted.looks, np.float64).reshape(-1, 4)
    if len(table) < 2 or table[-1, 1] == table[0, 1]:
        return {"fps": 0.0, "longest_gap_ms": float("inf"), "gaps": None, "arrivals": None}
    steps = np.diff(table, axis=0)
    # A gap is counted when a picture ends it, so a read without new pictures has none.
    gaps = [widest_gap(int(n), total, squares) for _, n, total, squares in steps if n > 0]
    return {
        "fps": float((table[-1, 1] - table[0, 1]) / (table[-1, 0] - table[0, 0])),
        "longest_gap_ms": float(max(gaps)) * 1000,
        "gaps": None,
        "arrivals": None,
    }
