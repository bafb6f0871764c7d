"""Point 8: many short sessions in one process leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import numpy as np
import psutil
from livekit import api

from bench.conformance.meeting import AGENT, Talker, join_agent, until
from bench.conformance.plan import Plan
from bench.conformance.report import Check, failed, must
from bench.conformance.sounds import tone
from bench.conformance.target import Target

RATE = 24_000
EVERY = 20  # sessions between two samples of the process
WARM_UP = 0.3  # share of the sessions until which caches and pools still fill

Look = tuple[int, float, int, int]  # after how many sessions: kB resident, threads, descriptors


async def soak(target: Target, plan: Plan) -> list[Check]:
    """Start, speak and end repeatedly; then see what the worker's process keeps."""
    if target.service_pid is None:
        return [failed("soak", "memory", "the worker's process is unknown: --service-pid")]
    process = psutil.Process(target.service_pid)
    looks: list[Look] = []
    missed = 0
    for number in range(plan.soak + 1):
        if number % EVERY == 0:
            await asyncio.sleep(1.0)
            looks.append(_look(process, number))
        if number < plan.soak:
            missed += not await _one(target)
    settled = np.array([look for look in looks if look[0] >= WARM_UP * plan.soak])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0])
    growth = settled[-1] - settled[0]
    name = f"of {plan.soak} sessions"
    return [
        must("soak", f"each {name} spoke", missed == 0, f"{missed} did not"),
        Check("soak", "memory, a session", slope, 100, "kB", f"{looks[-1][1] / 1024:.0f} MB"),
        Check("soak", "threads more", float(growth[2]), 2, "", f"{looks[-1][2]}"),
        Check("soak", "descriptors more", float(growth[3]), 4, "", f"{looks[-1][3]}"),
    ]


def _look(process: psutil.Process, number: int) -> Look:
    """At the worker and all that it has started: sessions may be in processes of their own."""
    rss_kb, threads, files = 0.0, 0, 0
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess), each.oneshot():
            rss_kb += each.memory_info().rss / 1024
            threads += each.num_threads()
            files += each.num_fds()
    return number, rss_kb, threads, files


async def _one(target: Target) -> bool:
    name, avatar = f"soak-{secrets.token_hex(4)}", "avatar"
    room = await join_agent(target.livekit, name)
    worker = await target.launch(target.livekit.avatar_token(name, avatar, AGENT))
    talker = Talker(room, avatar)
    try:
        await talker.say(tone(0.2, RATE), RATE)
        await talker.until_finished(1, 5.0)
    except TimeoutError:
        return False
    finally:
        async with target.livekit.admin() as admin:
            who = api.RoomParticipantIdentity(room=name, identity=avatar)
            with contextlib.suppress(api.TwirpError):
                await admin.room.remove_participant(who)
        with contextlib.suppress(TimeoutError):
            await until(lambda: avatar not in room.remote_participants, 5.0, "it did not leave")
        await room.disconnect()
        if worker is not None:
            await worker.stop()
    return True
