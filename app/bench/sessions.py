"""Many sessions at once on one machine: what each room gets, what it costs, what limits it."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.bench.people import AVATAR, PERSON, ROOMS_EACH, People
from app.bench.sampler import Costs, Sampler
from app.local import LiveKit, Service, local_livekit, local_service, prepare_persona

SETTLE_S = 4.0  # after the last one is ready: all talk, encoders have found their rate
STATS_EVERY_S = 10.0  # the service's stats look back so far
HEALTH_EVERY_S = 0.1
READY_S = 60.0


LIMITS = {
    "fps": "24.8 pictures a second received",
    "gap": "at most 120 ms between two pictures received",
    "late": "99 of 100 pictures sent within 40 ms of their time",
    "fresh": "at most 1 % of pictures repeated or dropped",
}
"""What each session must keep to count as held."""


class BenchError(Exception):
    """The benchmark could not be run; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be run."""

    sessions: int
    seconds: float
    persona: str
    size: tuple[int, int] | None
    duty: float
    decode: bool


@dataclass(frozen=True, slots=True)
class Room:
    """One session, as its room and the service saw it."""

    received_fps: float
    longest_gap_ms: float
    gaps: dict[str, int] | None  # milliseconds -> how many were longer; None: only counted
    concealed_share: float | None  # of the sound: lost or late on its way to the viewer
    sent_fps: float
    lateness_p50_ms: float  # of pictures leaving the service
    lateness_p95_ms: float
    lateness_p99_ms: float
    repeated: int
    dropped: int

    def missed(self, seconds: float) -> list[str]:
        """Names of the LIMITS that it missed; none is the aim."""
        unfresh = (self.repeated + self.dropped) / (25 * seconds)
        kept = {
            "fps": round(self.received_fps, 1) >= 24.8,
            "gap": self.longest_gap_ms <= 120,
            "late": self.lateness_p99_ms <= 40,
            "fresh": unfresh <= 0.01,
        }
        return [name for name in LIMITS if not kept[name]]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a load."""

    load: Load
    rooms: list[Room]
    costs: Costs
    health_ms: list[float]  # how long the service's event loop took to answer
    ready_s: list[float]  # from the POST until it was answered `ready`

    @property
    def failed(self) -> list[str]:
        """Every limit that any session missed."""
        missed = {name for room in self.rooms for name in room.missed(self.load.seconds)}
        return sorted(missed)


async def run(load: Load) -> Run:
    """Raises BenchError, LocalError, EngineError."""
    names = [f"bench-{number}" for number in range(load.sessions)]
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="voipavatar-")))
        await prepare_persona(folder, load.persona, load.size)
        livekit = await exits.enter_async_context(local_livekit(folder))
        env = {"VOIPAVATAR_MAX_SESSIONS": str(load.sessions)}
        service = await exits.enter_async_context(local_service(folder, livekit, env=env))
        people = await exits.enter_async_context(_people(livekit, load, names))
        ready_s = await _open(service.http, load, names)
        await asyncio.sleep(SETTLE_S)
        run = await _measure(load, names, livekit, service, people, ready_s)
        await asyncio.gather(*(service.http.delete(f"/sessions/{sid}") for sid in ready_s))
    return run


@asynccontextmanager
async def _people(livekit: LiveKit, load: Load, names: list[str]) -> AsyncIterator[list[People]]:
    """A person in each room, a process for every few rooms."""
    groups = [names[first : first + ROOMS_EACH] for first in range(0, len(names), ROOMS_EACH)]
    async with AsyncExitStack() as exits:
        people: list[People] = []
        for group in groups:
            people.append(await People.start(livekit, group, load.duty, load.decode))
            exits.push_async_callback(people[-1].aclose)
        yield people


async def _measure(
    load: Load,
    names: list[str],
    livekit: LiveKit,
    service: Service,
    people: list[People],
    ready_s: dict[str, float],
) -> Run:
    watched = {
        "service": [service.child.pid],
        "livekit": [livekit.child.pid],
        "people": [some.pid for some in people],
    }
    sampler = Sampler(watched)
    await asyncio.gather(*(some.begin() for some in people))
    sent, health_ms = await _watch(service.http, load.seconds, list(ready_s))
    answers = await asyncio.gather(*(some.end() for some in people))
    costs = sampler.costs()
    received = {room: body for answer in answers for room, body in answer.items()}
    rooms = [_room(received[name], stats) for name, stats in zip(names, sent.values(), strict=True)]
    return Run(load, rooms, costs, health_ms, list(ready_s.values()))


async def _open(http: httpx.AsyncClient, load: Load, names: list[str]) -> dict[str, float]:
    """Session id -> seconds until ready, in the order of the rooms."""

    async def one(name: str) -> tuple[str, float]:
        body: dict[str, Any] = {"room": name, "persona": load.persona, "identity": AVATAR}
        body["audio"] = {"source": "track", "participant": PERSON}
        body["limits"] = {"join_timeout_s": READY_S}
        if load.size is not None:
            body["video"] = {"width": load.size[0], "height": load.size[1]}
        start = time.monotonic()
        wait: dict[str, str | float] = {"wait": "ready", "timeout": READY_S}
        answer = await http.post("/sessions", json=body, params=wait, timeout=READY_S + 5)
        if answer.status_code != 201 or answer.json()["state"] != "ready":
            raise BenchError(f"Session {name} was answered {answer.status_code}: {answer.text}")
        return str(answer.json()["id"]), time.monotonic() - start

    return dict(await asyncio.gather(*(one(name) for name in names)))


async def _watch(
    http: httpx.AsyncClient, seconds: float, sessions: list[str]
) -> tuple[dict[str, list[dict[str, Any]]], list[float]]:
    """Let it run; the stats of each session in windows of ten seconds, and health's answers."""
    seen: dict[str, list[dict[str, Any]]] = {session: [] for session in sessions}
    health: list[float] = []
    start = time.monotonic()
    for window in range(1, max(1, round(seconds / STATS_EVERY_S)) + 1):
        while time.monotonic() < start + min(seconds, window * STATS_EVERY_S):
            asked = time.monotonic()
            (await http.get("/health")).raise_for_status()
            health.append((time.monotonic() - asked) * 1000)
            await asyncio.sleep(HEALTH_EVERY_S)
        for session in sessions:
            seen[session].append((await http.get(f"/sessions/{session}/stats")).json())
    return seen, health


def _room(received: dict[str, Any], windows: list[dict[str, Any]]) -> Room:
    def late(percent: str) -> list[float]:
        found = [window["lateness_ms"][percent] for window in windows]
        return [math.nan if value is None else float(value) for value in found]

    return Room(
        received_fps=float(received["fps"]),
        longest_gap_ms=float(received["longest_gap_ms"]),
        gaps=received["gaps"],
        concealed_share=received["concealed_share"],
        sent_fps=float(np.mean([window["fps"] or 0.0 for window in windows])),
        lateness_p50_ms=float(np.median(late("p50"))),
        lateness_p95_ms=float(np.max(late("p95"))),
        lateness_p99_ms=float(np.max(late("p99"))),
        repeated=sum(int(window["repeated_frames"]) for window in windows),
        dropped=sum(int(window["dropped_frames"]) for window in windows),
    )
