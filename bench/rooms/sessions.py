"""Many sessions at once on one machine: what each room receives, and what it costs."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from bench.devstack import (
    LiveKit,
    Service,
    local_livekit,
    local_service,
    own_personas,
    prepare_persona,
)
from bench.rooms import receivers as crowd
from bench.rooms.limits import missed
from bench.rooms.load_clients import (
    AGENT,
    AVATAR,
    PERSON,
    ROOMS_EACH,
    Counted,
    Crew,
    access_of,
    python,
)
from bench.rooms.loop_lag import ProcessPulse, Scrape, pulses, scrape
from bench.rooms.plan import BenchError, Load, Rig
from bench.rooms.rooms import Quantiles, Room, room
from bench.rooms.sampler import Costs, Sampler

SERVICE = "service"
SETTLE_S = 4.0  # after the last one is ready: all talk, encoders have found their rate
STATS_EVERY_S = 10.0  # the window of the service's stats
LOOK_EVERY_S = 1.0
SCRAPE_EVERY_S = 2.0  # a page of /metrics costs the service some milliseconds
READY_S = 60.0
SOAK_S = 1800.0  # in a shorter run, some MB of settling look like growth


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a load."""

    load: Load
    rooms: list[Room]
    costs: Costs
    pulses: dict[str, ProcessPulse]
    ready_s: list[float]  # from the POST until it was answered `ready`

    @property
    def turns(self) -> Quantiles:
        return Quantiles.of([turn for room in self.rooms for turn in room.turns])

    @property
    def interrupts(self) -> Quantiles:
        return Quantiles.of([end for room in self.rooms for end in room.interrupts])

    @property
    def failed(self) -> list[str]:
        """Every limit that any session missed, or all of them together."""
        load = self.load
        found = {n for room in self.rooms for n in room.missed(load.seconds, load.limits)}
        found |= set(missed(self.together, load.limits))
        if self.turns.unheard or any(room.unfinished for room in self.rooms):
            found.add("turn")
        if self.interrupts.unheard:
            found.add("interrupt")
        return [name for name in load.limits if name in found]

    @property
    def unmeasured(self) -> list[str]:
        """Limits that this load has no values for."""
        values = self.together | self.rooms[0].values(self.load.seconds)
        return [name for name in self.load.limits if values[name] is None]

    @property
    def together(self) -> dict[str, float | None]:
        """Values of limits that are not a single session's."""
        growth = self.costs.growth(SERVICE) if self.load.seconds >= SOAK_S else None
        return {"turn": self.turns.p95, "interrupt": self.interrupts.p95, "growth": growth}


async def run(load: Load, rig: Rig) -> Run:
    """Raises BenchError, LocalError, EngineError."""
    names = [f"bench-{number}" for number in range(load.sessions)]
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="voipavatar-")))
        await prepare_persona(folder, load.persona, load.size)
        server = local_livekit(folder, binary=rig.livekit_server)
        livekit = await exits.enter_async_context(server)
        places = {"VOIPAVATAR_MAX_SESSIONS": str(load.sessions)}
        env = {**own_personas(), **places, **rig.env}
        service = await exits.enter_async_context(local_service(folder, livekit, env=env))
        crews = await exits.enter_async_context(_crews(folder, livekit, load, rig, names))
        ready_s = await _open(service.http, load, names)
        await asyncio.sleep(SETTLE_S)
        found = await _measure(load, names, livekit, service, crews, ready_s)
        await asyncio.gather(*(service.http.delete(f"/sessions/{sid}") for sid in ready_s))
    return found


@dataclass(frozen=True, slots=True)
class _Crews:
    watching: dict[str, Crew]  # by name of the process
    speaking: dict[str, Crew]  # agents, which report turns

    def pids(self) -> dict[str, int]:
        return {name: crew.pid for name, crew in {**self.watching, **self.speaking}.items()}


@asynccontextmanager
async def _crews(
    folder: Path, livekit: LiveKit, load: Load, rig: Rig, names: list[str]
) -> AsyncIterator[_Crews]:
    """Load clients and receivers of the rooms, in processes of their own."""
    found = _Crews({}, {})
    async with AsyncExitStack() as exits:

        async def start(command: list[str | Path], job: dict[str, Any]) -> Crew:
            crew = await Crew.start(command, job, crowd.ENV)
            exits.push_async_callback(crew.aclose)
            return crew

        for number, job in enumerate(_jobs(livekit, load, names), 1):
            if load.source == "agent":
                more = {"duty": load.duty, "interrupts": load.interrupts}
                agents = await start(python("bench.rooms.agents"), job | more)
                found.speaking[f"agents {number}"] = agents
            if load.receiver != "count":
                duty = 0.0 if load.source == "agent" else load.duty
                more = {"duty": duty, "decode": load.receiver == "decode"}
                people = await start(python("bench.rooms.sdk_receivers"), job | more)
                found.watching[f"people {number}"] = people
        if load.receiver == "count":
            program = await crowd.binary(rig.people)
            speech = folder / "talk.opus" if load.source == "microphone" else None
            if speech is not None:
                await asyncio.to_thread(crowd.write_talk, speech, load.duty)
            found.watching["people"] = await start([program], crowd.job(livekit, names, speech))
        yield found


def _jobs(livekit: LiveKit, load: Load, names: list[str]) -> list[dict[str, Any]]:
    """Jobs for the Python processes, a few rooms each."""
    groups = [names[first : first + ROOMS_EACH] for first in range(0, load.sessions, ROOMS_EACH)]
    return [{"rooms": group, **access_of(livekit)} for group in groups]


async def _measure(
    load: Load,
    names: list[str],
    livekit: LiveKit,
    service: Service,
    crews: _Crews,
    ready_s: dict[str, float],
) -> Run:
    roots = {SERVICE: service.child.pid, "livekit-server": livekit.child.pid, **crews.pids()}
    sampler = Sampler(roots)
    everybody = [*crews.watching.values(), *crews.speaking.values()]
    await asyncio.gather(*(crew.begin() for crew in everybody))
    sent, scrapes = await _watch(service.http, load.seconds, list(ready_s), sampler)
    costs = sampler.costs()
    received = await _end(crews.watching)
    spoken = await _end(crews.speaking)
    rooms = [
        room(received[name], stats, spoken.get(name))
        for name, stats in zip(names, sent.values(), strict=True)
    ]
    return Run(load, rooms, costs, pulses(scrapes), list(ready_s.values()))


async def _end(crews: dict[str, Crew]) -> Counted:
    answers = await asyncio.gather(*(crew.end() for crew in crews.values()))
    return {room: body for answer in answers for room, body in answer.items()}


async def _open(http: httpx.AsyncClient, load: Load, names: list[str]) -> dict[str, float]:
    """Session id -> seconds until ready, in the order of the rooms."""

    async def one(name: str) -> tuple[str, float]:
        body: dict[str, Any] = {"room": name, "persona": load.persona, "identity": AVATAR}
        body["audio"] = {"source": "track", "participant": PERSON}
        if load.source == "agent":
            body["audio"] = {"source": "data_stream", "agent": AGENT}
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
    http: httpx.AsyncClient, seconds: float, sessions: list[str], sampler: Sampler
) -> tuple[dict[str, list[dict[str, Any]]], list[Scrape]]:
    """Let it run; the stats of each session in windows of ten seconds, and pages of /metrics."""
    seen: dict[str, list[dict[str, Any]]] = {session: [] for session in sessions}
    scrapes: list[Scrape] = []
    start = time.monotonic()
    steps = max(1, round(seconds / LOOK_EVERY_S))
    every = round(STATS_EVERY_S / LOOK_EVERY_S)
    for step in range(steps + 1):
        await asyncio.sleep(max(0.0, start + step * LOOK_EVERY_S - time.monotonic()))
        sampler.sample()
        if step % round(SCRAPE_EVERY_S / LOOK_EVERY_S) == 0 or step == steps:
            page = (await http.get("/metrics")).raise_for_status().text
            scrapes.append(scrape(time.monotonic(), page))
        # A last window of a few seconds is left out, unless it is the only one.
        if step and (step % every == 0 or step == steps < every):
            for session in sessions:
                seen[session].append((await http.get(f"/sessions/{session}/stats")).json())
    return seen, scrapes


async def able(load: Load, rig: Rig) -> Load:
    """The same load, with receivers that can be had on this machine."""
    if load.receiver != "count":
        return load
    try:
        await crowd.binary(rig.people)
    except crowd.NoCrowd:
        return replace(load, receiver="sdk")
    return load
