"""A room with an agent, an avatar that speaks for it, and a listener."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import numpy as np
from livekit import api, rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput
from livekit.agents.voice.io import AudioOutput, PlaybackFinishedEvent
from numpy.typing import NDArray

from bench.conformance.listener import BUFFERS, BYTES, HEAD, PICTURE, SOUND
from bench.conformance.sounds import Heard, Pcm
from bench.conformance.target import LiveKit, Target
from bench.conformance.telling import tell
from bench.conformance.worker import Gone, InVain, Worker

JOIN_S = 20.0
LEAVE_S = 10.0
FRAME_S = 0.1
AGENT = "agent"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Finished:
    at: float
    position: float
    interrupted: bool


class Talker:
    """The agent's side: the real sink of livekit-agents, and the reports it received."""

    def __init__(self, room: rtc.Room, avatar: str) -> None:
        self.room = room
        self.out = DataStreamAudioOutput(
            room,
            destination_identity=avatar,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
            wait_playback_start=True,
        )
        self.started: list[float] = []
        self.finished: list[Finished] = []
        self.answers: list[float] = []  # seconds until each lk.clear_buffer was answered
        self._news = asyncio.Event()
        self.out.on("playback_started", self._on_started)
        self.out.on("playback_finished", self._on_finished)
        self._time_calls()

    async def say(self, pcm: Pcm, rate: int, channels: int = 1) -> float:
        """Push a whole segment as fast as it goes; when the first frame was given."""
        begun = time.monotonic()
        await self.push(pcm, rate, channels)
        self.out.flush()
        return begun

    async def push(self, pcm: Pcm, rate: int, channels: int = 1) -> None:
        step = round(rate * FRAME_S) * channels
        for start in range(0, len(pcm), step):
            piece = pcm[start : start + step]
            frame = rtc.AudioFrame(piece.tobytes(), rate, channels, len(piece) // channels)
            async with asyncio.timeout(JOIN_S):
                await self.out.capture_frame(frame)

    def lose_trailer(self) -> None:
        """End the segment on this side only: the byte stream is never closed."""
        AudioOutput.flush(self.out)
        self.out._stream_writer = None

    async def until_started(self, count: int, timeout_s: float = 5.0) -> float:
        """When the count-th segment was heard to start. Raises TimeoutError."""
        await self._until(lambda: len(self.started) >= count, timeout_s, f"started {count}")
        return self.started[count - 1]

    async def until_finished(self, count: int, timeout_s: float) -> Finished:
        await self._until(lambda: len(self.finished) >= count, timeout_s, f"finished {count}")
        return self.finished[count - 1]

    async def _until(self, held: Callable[[], bool], timeout_s: float, report: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not held():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise InVain(f"the report `{report}` did not come in {timeout_s:g} s") from error

    def _on_started(self, _: object) -> None:
        self.started.append(time.monotonic())
        self._news.set()

    def _on_finished(self, event: PlaybackFinishedEvent) -> None:
        now = time.monotonic()
        self.finished.append(Finished(now, event.playback_position, event.interrupted))
        self._news.set()

    def _time_calls(self) -> None:
        call = self.room.local_participant.perform_rpc

        async def timed(**request: object) -> str:
            begun = time.monotonic()
            answer = await call(**request)  # type: ignore[arg-type]
            self.answers.append(time.monotonic() - begun)
            return answer

        self.room.local_participant.perform_rpc = timed  # type: ignore[method-assign]


class Ears:
    """A subscriber to one avatar's voice, in a process of its own: listener.py."""

    def __init__(self, avatar: str, *, pictures: bool = False) -> None:
        self._avatar = avatar
        self._watches = {"LISTENER_PICTURES": "1"} if pictures else {}
        self._pieces: list[tuple[float, Pcm]] = []
        self.seen: list[tuple[float, NDArray[np.uint8]]] = []  # (SIDE * SIDE,) luma each
        self.held: list[tuple[float, float, float]] = []  # when; s of sound, of pictures, buffered
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def join(self, livekit: LiveKit, name: str, identity: str = "user") -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.conformance.listener", self._avatar),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                **self._watches,
                "LISTENER_URL": livekit.url,
                "LISTENER_TOKEN": livekit.token(name, identity),
            },
        )
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def leave(self) -> None:
        """Idempotent."""
        process, self._process = self._process, None
        if process is None or self._reading is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._reading
        except TimeoutError:  # its connection may hang with its server
            process.kill()
        await process.wait()

    def heard(self, since: float, until: float = float("inf")) -> Heard:
        first = next((i for i, piece in enumerate(self._pieces) if piece[0] >= since - 1.0), 0)
        return Heard.of(self._pieces[first:]).between(since, until)

    async def listening(self, timeout_s: float, since: float = 0.0) -> None:
        """Wait until sound has come in after a moment."""
        await until(
            lambda: bool(self._pieces) and self._pieces[-1][0] > since,
            timeout_s,
            "the listener got no sound of the avatar",
        )

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, arrived = HEAD.unpack(await stream.readexactly(HEAD.size))
                data = await stream.readexactly(BYTES[kind])
                if kind == SOUND:
                    self._pieces.append((arrived, np.frombuffer(data, np.int16)))
                elif kind == PICTURE:
                    self.seen.append((arrived, np.frombuffer(data, np.uint8)))
                else:
                    self.held.append((arrived, *BUFFERS.unpack(data)))


@dataclass(slots=True)
class Meeting:
    target: Target
    name: str
    agent: str
    avatar: str
    talker: Talker
    ears: Ears
    workers: list[Worker] = field(default_factory=list)  # that a command started, the latest last

    async def call(self) -> None:
        """Ask for the avatar. Raises what Target.launch() does."""
        token = self.target.livekit.avatar_token(self.name, self.avatar, self.agent)
        if worker := await self.target.launch(token):
            self.workers.append(worker)

    async def present(self, timeout_s: float = JOIN_S) -> None:
        """Wait until the avatar has published its picture and its voice.

        Raises TimeoutError, and Gone as soon as its process has ended with an error.
        """
        missing = "the avatar did not publish a picture and a voice"
        await until(self._present_or_gone, timeout_s, missing)

    def is_present(self) -> bool:
        avatar = self.talker.room.remote_participants.get(self.avatar)
        return avatar is not None and len(avatar.track_publications) >= 2

    async def gone(self, timeout_s: float) -> None:
        await until(
            lambda: self.avatar not in self.talker.room.remote_participants,
            timeout_s,
            "the avatar did not leave",
        )

    def _present_or_gone(self) -> bool:
        if self.workers and self.workers[-1].failed:
            raise Gone(self.workers[-1].state())
        return self.is_present()


async def until(held: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
    """Look again and again. Raises InVain, which says what is the case `otherwise`."""
    give_up = time.monotonic() + timeout_s
    while not held():
        if time.monotonic() > give_up:
            raise InVain(f"{otherwise} within {timeout_s:g} s")
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def meet(
    target: Target, *, agent: str = AGENT, pictures: bool = False
) -> AsyncIterator[Meeting]:
    """All three in a new room; afterwards the room is deleted, which ends the avatar."""
    name = f"conformance-{secrets.token_hex(4)}"
    # The sink keeps handlers by this identity, process-wide: livekit.md §1.4.
    avatar = f"avatar-{next(_numbers)}"
    room = await join_agent(target.livekit, name, agent)
    ears = Ears(avatar, pictures=pictures)
    meeting = Meeting(target, name, agent, avatar, Talker(room, avatar), ears)
    try:
        await ears.join(target.livekit, name)
        await meeting.call()
        await meeting.present()
        await ears.listening(JOIN_S)
        yield meeting
        for worker in meeting.workers:
            if worker.failed:
                tell(worker.state())
    except TimeoutError as error:
        if not meeting.workers:
            raise
        raise InVain(f"{error}; {meeting.workers[-1].state()}".removeprefix("; ")) from error
    finally:
        await _clear_away(meeting)


async def join_agent(livekit: LiveKit, name: str, identity: str = AGENT) -> rtc.Room:
    room = rtc.Room()
    token = livekit.token(name, identity, kind="agent")
    await room.connect(livekit.url, token, rtc.RoomOptions(auto_subscribe=False))
    return room


async def _clear_away(meeting: Meeting) -> None:
    await put_away(meeting.target.livekit, meeting.name, meeting.ears, meeting.talker.room)
    for worker in meeting.workers:
        await worker.stop()


async def put_away(livekit: LiveKit, name: str, ears: Ears, room: rtc.Room) -> None:
    """Leave and delete a room, even if its server is down or does not know it."""
    await ears.leave()
    with contextlib.suppress(TimeoutError, api.TwirpError, aiohttp.ClientError):
        async with asyncio.timeout(LEAVE_S):
            await room.disconnect()
            async with livekit.admin() as admin:
                await admin.room.delete_room(api.DeleteRoomRequest(room=name))
