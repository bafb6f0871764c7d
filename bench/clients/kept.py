"""Memory that a process keeps for each room it was in: by LiveKit's SDK alone, and by our session.

Each room is used in three ways, whose difference shows who keeps the memory: joined and left; with
two tracks that carry media; as a whole session. Needs only a LiveKit server.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import psutil
from livekit import rtc

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.rtc.resources import open_resources
from app.rtc.sdk.names import AUDIO_TRACK, VIDEO_TRACK
from app.rtc.sdk.tokens import avatar_token
from app.rtc.session import COLLECT_AFTER_S, RoomSession, SessionResources
from app.session_types import AudioSpec, EndReason, SessionSpec
from bench.clients.participant import LiveKitAccess

Kind: TypeAlias = Literal["room", "tracks", "session"]
Visit: TypeAlias = Callable[[int], Awaitable[None]]

EVERY = 10  # rooms between two looks
WARM_UP = 0.5  # share of the rooms in which caches, pools and the allocator still fill
TICKS = 10  # of 40 ms, that go through the tracks
SIZE = 512
ENCODING = rtc.VideoEncoding(max_bitrate=1_500_000, max_framerate=25)
OUR_PARTS = 8  # lines of Python's memory that are reported


@dataclass(slots=True)
class Kept:
    """Memory after a number of rooms, and where Python's own grew."""

    kind: Kind
    looks: list[tuple[int, float]] = field(default_factory=list)  # rooms, kB resident
    python_kb: float = 0.0  # a room, of what Python allocated; traced only on request
    lines: list[str] = field(default_factory=list)

    @property
    def kb_a_room(self) -> float:
        settled = np.array([look for look in self.looks if look[0] >= WARM_UP * self.looks[-1][0]])
        return float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0])


async def kept(
    kind: Kind, rooms: int, settings: Settings, personas: Path, *, trace: bool = False
) -> Kept:
    """Use rooms one after another. `trace`: record where Python's memory grew; slower."""
    found = Kept(kind)
    async with _visits(kind, settings, personas) as visit:
        before, first = None, 0
        for number in range(rooms + 1):
            if number % EVERY == 0:
                found.looks.append((number, await _resident_kb()))
            if trace and before is None and number >= WARM_UP * rooms:
                tracemalloc.start()
                before, first = tracemalloc.take_snapshot(), number
            if number < rooms:
                await visit(number)
        if before is not None:
            await _resident_kb()
            grown = tracemalloc.take_snapshot().compare_to(before, "filename")
            tracemalloc.stop()
            counted = [each for each in grown if "tracemalloc" not in str(each.traceback)]
            each_room = 1024 * (rooms - first)
            found.python_kb = sum(part.size_diff for part in counted) / each_room
            found.lines = [
                f"{part.size_diff / each_room:7.2f} kB a room  {_place(part.traceback[0].filename)}"
                for part in counted[:OUR_PARTS]
            ]
    return found


@asynccontextmanager
async def _visits(kind: Kind, settings: Settings, personas: Path) -> AsyncIterator[Visit]:
    if kind != "session":
        access = LiveKitAccess(
            settings.livekit_url,
            settings.livekit_api_key,
            settings.livekit_api_secret.get_secret_value(),
        )
        yield lambda number: _bare(access, f"kept-{number}", tracks=kind == "tracks")
        return
    catalogue = Catalogue.of(settings.model_copy(update={"personas_dir": personas}))
    try:
        async with open_resources(settings, catalogue) as stage:
            yield lambda number: _session(settings, stage, f"kept-{number}")
    finally:
        await catalogue.aclose()


async def _bare(access: LiveKitAccess, name: str, *, tracks: bool) -> None:
    """A room as in the SDK's documentation, without our code."""
    room = rtc.Room()
    token = access.token(name, "avatar")
    await room.connect(access.url, token, rtc.RoomOptions(auto_subscribe=False))
    if tracks:
        video, audio = rtc.VideoSource(SIZE, SIZE), rtc.AudioSource(48_000, 1, 200)
        for track in (
            rtc.LocalVideoTrack.create_video_track(VIDEO_TRACK, video),
            rtc.LocalAudioTrack.create_audio_track(AUDIO_TRACK, audio),
        ):
            options = rtc.TrackPublishOptions(
                video_codec=rtc.VideoCodec.H264, video_encoding=ENCODING, simulcast=False
            )
            await room.local_participant.publish_track(track, options)
        picture = bytes(SIZE * SIZE * 3 // 2)
        for _ in range(TICKS):
            video.capture_frame(rtc.VideoFrame(SIZE, SIZE, rtc.VideoBufferType.I420, picture))
            await audio.capture_frame(rtc.AudioFrame(bytes(2 * 1920), 48_000, 1, 1920))
        await audio.aclose()
        await video.aclose()
    await room.disconnect()


async def _session(settings: Settings, stage: SessionResources, name: str) -> None:
    """Our session, from request to end, ready for as long as the bare tracks are fed."""

    def token() -> str:
        return avatar_token(settings, f"ses_{name}", name, "avatar", audio)

    async def on_ready() -> None:
        await asyncio.sleep(TICKS * 0.04)
        session.stop(EndReason.DELETED)

    audio, now = AudioSpec(), time.monotonic()
    session = RoomSession(
        SessionSpec(
            f"ses_{name}", name, "default", "avatar", settings.livekit_url, token, now, audio=audio
        ),
        stage,
    )
    await session.run(on_ready)


async def _resident_kb() -> float:
    await asyncio.sleep(2 * COLLECT_AFTER_S)
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 1024


def _place(path: str) -> str:
    """The file's name without this machine's folders."""
    parts = Path(path).parts
    for root in ("site-packages", "app", "engine"):
        if root in parts:
            return "/".join(parts[parts.index(root) :])
    return Path(path).name
