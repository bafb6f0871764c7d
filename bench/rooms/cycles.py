"""Creates and deletes sessions repeatedly, and counts what each leaves behind."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from bench.clients.participant import LiveKitAccess
from bench.demo.take import end_session
from bench.devstack import local_livekit, local_service, own_personas, prepare_persona
from bench.measure.report import Line, at_most
from bench.rooms.load_clients import AVATAR
from bench.rooms.plan import BenchError

AT_ONCE = 2
WARM_UP = 0.25  # share of the cycles in which caches and pools still fill
QUIET_S = 3.0  # without a change in the number of threads: those that wind down are gone
QUIET_AT_MOST_S = 30.0
POOLS = 8  # threads that pools of connections and workers may still take, far under one a cycle
SAMPLE_EVERY = 8  # cycles
ENDED_S = 10.0
TASKS = re.compile(r"^voipavatar_tasks (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Held:
    """What the service's process holds while there are no sessions."""

    cycles: int
    rss_mb: float
    threads: int
    files: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Cycles:
    held: list[Held]  # the first after the warm-up, the last at the end, both in quiet
    rows_live: int  # sessions in a non-terminal state
    participants: int  # avatars left in rooms

    @property
    def rss_slope_kb(self) -> float:
        """KiB a cycle, after the warm-up."""
        counts = [held.cycles for held in self.held]
        return float(np.polyfit(counts, [held.rss_mb for held in self.held], 1)[0]) * 1024

    def lines(self) -> list[Line]:
        settled, last = self.held[0], self.held[-1]
        return [
            at_most("tasks more than after the warm-up", last.tasks - settled.tasks, 0, ""),
            at_most("threads more", last.threads - settled.threads, POOLS, ""),
            at_most("file descriptors more", last.files - settled.files, 2 * POOLS, ""),
            at_most("sessions in a state that is no end", self.rows_live, 0, ""),
            at_most("avatars left in rooms", self.participants, 0, ""),
            Line("RSS at the end", f"{last.rss_mb:.0f} MB"),
            Line("RSS a cycle, after the warm-up", f"{self.rss_slope_kb:+.0f} KiB"),
        ]


async def run(count: int, persona: str) -> Cycles:
    """Raises BenchError, LocalError, EngineError."""
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="voipavatar-")))
        await prepare_persona(folder, persona)
        livekit = await exits.enter_async_context(local_livekit(folder))
        service = await exits.enter_async_context(
            local_service(folder, livekit, env=own_personas())
        )
        process = psutil.Process(service.child.pid)
        warm = round(count * WARM_UP)
        await _cycle_all(service.http, persona, range(warm))
        held = [await _quiet(service.http, process, warm)]
        for done in range(warm, count, SAMPLE_EVERY):
            batch = range(done, min(done + SAMPLE_EVERY, count))
            await _cycle_all(service.http, persona, batch)
            held.append(await _held(service.http, process, batch.stop))
        held.append(await _quiet(service.http, process, count))
        access = LiveKitAccess(livekit.url, livekit.key, livekit.secret)
        rooms = {f"cycle-{number}" for number in range(AT_ONCE)}
        people = [identity for room in rooms for identity in await access.participants(room)]
        return Cycles(held, await _live_rows(service.http), people.count(AVATAR))


async def _cycle_all(http: httpx.AsyncClient, persona: str, numbers: range) -> None:
    for first in numbers[::AT_ONCE]:
        some = range(first, min(first + AT_ONCE, numbers.stop))
        await asyncio.gather(*(_cycle(http, persona, f"cycle-{n % AT_ONCE}") for n in some))


async def _cycle(http: httpx.AsyncClient, persona: str, room: str) -> None:
    body = {"room": room, "persona": persona, "identity": AVATAR}
    answer = await http.post("/sessions", json=body, params={"wait": "ready", "timeout": 15})
    if answer.status_code != 201 or answer.json()["state"] != "ready":
        raise BenchError(f"POST /sessions was answered {answer.status_code}: {answer.text}")
    session = answer.json()["id"]
    state = await end_session(http, session, ENDED_S)
    if state != "ended":
        raise BenchError(f"Session {session} is {state} {ENDED_S:.0f} s after its DELETE.")


async def _quiet(http: httpx.AsyncClient, process: psutil.Process, cycles: int) -> Held:
    """What is held once threads have stopped winding down."""
    end = time.monotonic() + QUIET_AT_MOST_S
    held, since = await _held(http, process, cycles), time.monotonic()
    while time.monotonic() < min(end, since + QUIET_S):
        await asyncio.sleep(0.5)
        now = await _held(http, process, cycles)
        if now.threads != held.threads:
            since = time.monotonic()
        held = now
    return held


async def _held(http: httpx.AsyncClient, process: psutil.Process, cycles: int) -> Held:
    page = (await http.get("/metrics")).text
    tasks = TASKS.search(page)
    if tasks is None:
        raise BenchError("/metrics does not tell voipavatar_tasks.")
    return Held(
        cycles,
        process.memory_info().rss / 2**20,
        process.num_threads(),
        process.num_fds(),
        int(float(tasks[1])),
    )


async def _live_rows(http: httpx.AsyncClient) -> int:
    live = 0
    for state in ("starting", "ready", "ending"):
        page: dict[str, Any] = (await http.get("/sessions", params={"state": state})).json()
        live += len(page["items"])
    return live
