"""One recording: a person speaks into a room, another watches the avatar there."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from bench.clients.participant import LiveKitAccess
from bench.clients.speaker import RoomSpeaker
from bench.clients.viewer import Viewer
from bench.demo.film import Film
from bench.measure.mouth import MouthRegion
from bench.measure.recording import Floats, Pcm, TimedAudio

AVATAR = "avatar"
SPEAKER = "speaker"
IDLE_S = 2.0  # watched before the speech: what a closed mouth looks like
QUIET_S = 2.5  # watched after it: how the mouth closes
FIRST_PICTURE_S = 15.0


class DemoError(Exception):
    """The demo could not go on; the message says why."""


@dataclass(frozen=True)
class Take:
    """All that was recorded. Moments are seconds of this process's monotonic clock."""

    posted: float
    ready_s: float  # from the POST to the session's ready_at
    first_frame: float  # the avatar's first picture, by the service's word
    arrivals: Floats  # (n,) of pictures at the viewer
    crops: NDArray[np.uint8]  # (n, height, width) mouths
    region: MouthRegion
    sent: TimedAudio
    heard: TimedAudio
    speech_from: float
    speech_until: float
    left_behind: list[str]  # identities in the room after the session's end
    end_state: str
    stats: dict[str, Any]  # the service's own, at the end of the speech


async def record(
    http: httpx.AsyncClient,
    access: LiveKitAccess,
    room: str,
    persona: str,
    region: MouthRegion,
    speech: tuple[Pcm, int],
    film: Film | None,
) -> Take:
    """Speak (samples, rate) into a new session in a new room and record what comes back.

    Raises DemoError.
    """
    pcm, rate = speech
    async with AsyncExitStack() as exits:
        exits.enter_context(_without_collections())
        viewer = Viewer(access, AVATAR, region=region, tape=film)
        exits.push_async_callback(viewer.aclose)
        await viewer.start(room)
        speaker = RoomSpeaker(access, rate)
        exits.push_async_callback(speaker.aclose)
        await speaker.start(room, SPEAKER)
        posted = time.monotonic()
        session, ready_s = await _create(http, room, persona)
        await _first_picture(viewer)
        await asyncio.sleep(IDLE_S)
        speech_from = time.monotonic()
        await speaker.say(pcm)
        speech_until = time.monotonic()
        stats = await _stats(http, session)
        await asyncio.sleep(QUIET_S)
        await viewer.aclose()
        end_state = await end_session(http, session)
        people = await access.participants(room)
    return Take(
        posted=posted,
        ready_s=ready_s,
        first_frame=posted + float(stats["time_to_first_frame_ms"] or 0) / 1000,
        arrivals=viewer.arrivals,
        crops=viewer.crops,
        region=region,
        sent=speaker.sent,
        heard=viewer.heard,
        speech_from=speech_from,
        speech_until=speech_until,
        left_behind=[identity for identity in people if identity == AVATAR],
        end_state=end_state,
        stats=stats,
    )


@contextmanager
def _without_collections() -> Iterator[None]:
    """Spare the viewer a walk over all that was imported: it held all threads for 92 ms, two
    pictures, a second before the end of the speech."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def end_session(http: httpx.AsyncClient, session: str, timeout_s: float = 10.0) -> str:
    """DELETE, and wait for the end: the state it came to."""
    deadline = time.monotonic() + timeout_s
    answer = await http.delete(f"/sessions/{session}")
    while answer.json()["state"] not in ("ended", "failed") and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        answer = await http.get(f"/sessions/{session}")
    return str(answer.json()["state"])


async def _create(http: httpx.AsyncClient, room: str, persona: str) -> tuple[str, float]:
    """The session's id, and the seconds it took to be ready."""
    body = {
        "room": room,
        "persona": persona,
        "identity": AVATAR,
        "audio": {"source": "track", "participant": SPEAKER},
    }
    sent_at = time.time()
    answer = await http.post("/sessions", json=body, params={"wait": "ready", "timeout": 15})
    session = answer.json()
    if answer.status_code != 201 or session.get("state") != "ready":
        raise DemoError(f"POST /sessions was answered {answer.status_code}: {answer.text}")
    return str(session["id"]), datetime.fromisoformat(session["ready_at"]).timestamp() - sent_at


async def _first_picture(viewer: Viewer) -> None:
    try:
        async with asyncio.timeout(FIRST_PICTURE_S):
            await viewer.first_picture.wait()
            await viewer.first_sound.wait()
    except TimeoutError:
        raise DemoError(
            f"No picture or no sound of the avatar reached the viewer in {FIRST_PICTURE_S:.0f} s."
        ) from None


async def _stats(http: httpx.AsyncClient, session: str) -> dict[str, Any]:
    answer = await http.get(f"/sessions/{session}/stats")
    if answer.status_code != 200:
        raise DemoError(f"GET /sessions/{session}/stats was answered {answer.text}")
    stats: dict[str, Any] = answer.json()
    return stats
