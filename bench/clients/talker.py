"""A load agent: sends utterances as LiveKit's agents do, interrupts some, and listens.

The wire protocol is in docs/reference/livekit.md §1.2. The agents package itself pins another SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from livekit import api, rtc

from bench.clients.participant import LiveKitAccess
from bench.measure.recording import Floats, Pcm
from bench.measure.turns import Loudness, levels_of

HEAR_RATE = 48_000
PIECE_MS = 20  # of what is heard
WRITE_S = 0.2  # of speech at a time, as a TTS yields it
FASTER = 5.0  # than it is spoken
INTERRUPT_S = (1.0, 2.5)  # after the turn's beginning
PATIENCE_S = 5.0  # after a turn's own length, within which it must be reported as finished
LEAST_PAUSE_S = 0.7  # so that the next turn is not taken for one that did not fall silent


@dataclass(slots=True)
class _Turn:
    begun: float  # before the first sample was handed over
    cleared: float | None = None  # before the agent asked for silence
    answered_s: float | None = None  # until that was acknowledged
    finished: bool = False


@dataclass(slots=True)
class _Kept:
    turns: list[_Turn] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    levels: list[Floats] = field(default_factory=list)


class Talker:
    """Speaks in turns through one avatar and listens to it."""

    def __init__(
        self,
        access: LiveKitAccess,
        avatar: str,
        turns: Iterator[Pcm],
        rate: int,
        *,
        duty: float,
        interrupts: float,
        seed: int,
    ) -> None:
        self._access = access
        self._avatar = avatar
        self._turns = turns
        self._rate = rate
        self._duty = duty
        self._interrupts = interrupts
        self._chance = random.Random(seed)
        self._room = rtc.Room()
        self._tasks: list[asyncio.Task[None]] = []
        self._kept = _Kept()
        self._finished = asyncio.Event()

    async def start(self, room: str, identity: str) -> None:
        """Join as an agent; speak once the avatar can be heard. Raises rtc.ConnectError."""
        self._room.on("track_published", self._published)
        self._room.on("track_subscribed", self._subscribed)
        token = (
            api.AccessToken(self._access.key, self._access.secret)
            .with_identity(identity)
            .with_kind("agent")
            .with_ttl(timedelta(hours=2))
            .with_grants(api.VideoGrants(room_join=True, room=room))
            .to_jwt()
        )
        options = rtc.RoomOptions(auto_subscribe=False, connect_timeout=10.0)
        await self._room.connect(self._access.url, token, options)
        me = self._room.local_participant
        me.register_rpc_method("lk.playback_started", lambda _: "ok")
        me.register_rpc_method("lk.playback_finished", self._told)
        for participant in self._room.remote_participants.values():
            for publication in participant.track_publications.values():
                self._published(publication, participant)

    def begin(self) -> None:
        """Forget what was measured; a turn under way is not counted."""
        self._kept = _Kept()

    def result(self) -> dict[str, Any]:
        """Milliseconds: `turns` until first heard, `interrupts` until silent, `answers` of the
        RPC; None: never heard. `unfinished`: turns whose end was never reported."""
        kept = self._kept
        heard = Loudness.of(kept.arrivals, kept.levels)
        starts: list[float | None] = []
        ends: list[float | None] = []
        for turn in kept.turns:
            first = heard.first_heard(turn.begun, turn.begun + INTERRUPT_S[0])
            starts.append(None if first is None else (first - turn.begun) * 1000)
            if turn.cleared is not None:
                last = heard.last_heard(turn.cleared)
                # None also for what never fell silent: JSON has no infinity.
                known = last is not None and np.isfinite(last)
                ends.append((last - turn.cleared) * 1000 if known and last is not None else None)
        answers = [t.answered_s * 1000 for t in kept.turns if t.answered_s is not None]
        unfinished = sum(not turn.finished for turn in kept.turns)
        return {"turns": starts, "interrupts": ends, "answers": answers, "unfinished": unfinished}

    async def aclose(self) -> None:
        """Leave. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._room.disconnect()

    def _told(self, _: rtc.RpcInvocationData) -> str:
        self._finished.set()
        return "ok"

    def _published(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        audio = publication.kind == rtc.TrackKind.KIND_AUDIO
        if participant.identity == self._avatar and audio:
            publication.set_subscribed(True)

    def _subscribed(self, track: rtc.RemoteTrack, *_: object) -> None:
        self._tasks.append(asyncio.create_task(self._listen(track)))
        if len(self._tasks) == 1:  # a track made anew after a reconnect finds us speaking already
            self._tasks.append(asyncio.create_task(self._talk()))

    async def _listen(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.AudioStream(
            track, sample_rate=HEAR_RATE, num_channels=1, frame_size_ms=PIECE_MS
        )
        try:
            async for event in stream:
                # Its first 10 ms came out of the jitter buffer before its last did.
                self._kept.arrivals.append(time.monotonic() - (PIECE_MS - 10) / 1000)
                pcm = np.frombuffer(event.frame.data, np.int16)
                self._kept.levels.append(levels_of(pcm, HEAR_RATE))
        finally:
            await stream.aclose()

    async def _talk(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 2.0))  # not all at once
        for pcm in self._turns:
            begun = time.monotonic()
            await self._take_turn(pcm)
            spoken = time.monotonic() - begun
            await asyncio.sleep(max(LEAST_PAUSE_S, spoken * (1 - self._duty) / self._duty))

    async def _take_turn(self, pcm: Pcm) -> None:
        self._finished.clear()
        turn = _Turn(time.monotonic())
        kept = self._kept
        writing = asyncio.create_task(self._write(pcm))
        try:
            if self._chance.random() < self._interrupts:
                await asyncio.sleep(self._chance.uniform(*INTERRUPT_S))
                await self._interrupt(turn)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finished.wait(), len(pcm) / self._rate + PATIENCE_S)
                turn.finished = True
            await writing
        finally:
            writing.cancel()
        kept.turns.append(turn)  # of a benchmark begun meanwhile it is no part

    async def _interrupt(self, turn: _Turn) -> None:
        turn.cleared = time.monotonic()
        with contextlib.suppress(rtc.RpcError):
            await self._room.local_participant.perform_rpc(
                destination_identity=self._avatar, method="lk.clear_buffer", payload=""
            )
            turn.answered_s = time.monotonic() - turn.cleared

    async def _write(self, pcm: Pcm) -> None:
        writer = await self._room.local_participant.stream_bytes(
            name=f"AUDIO_{self._chance.getrandbits(40):010x}",
            topic="lk.audio_stream",
            destination_identities=[self._avatar],
            attributes={"sample_rate": str(self._rate), "num_channels": "1"},
        )
        step = round(WRITE_S * self._rate)
        for first in range(0, len(pcm), step):
            await writer.write(pcm[first : first + step].tobytes())
            await asyncio.sleep(WRITE_S / FASTER)
        await writer.aclose()
