"""Agents for some rooms: they send utterances, wait until each ends, and interrupt some."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

from app.shipped import SAMPLE
from bench.clients.participant import LiveKitAccess
from bench.clients.talker import Talker
from bench.measure.speech import read_wav, utterances
from bench.rooms.load_clients import AGENT, AVATAR, say


@dataclass(frozen=True, slots=True)
class Job:
    """The job of the agents in one process."""

    url: str
    key: str
    secret: str
    rooms: list[str]
    duty: float
    interrupts: float


def main() -> None:
    """The child's end of a `Crew`."""
    job = Job(**json.loads(sys.stdin.readline()))
    asyncio.run(_attend(job))


async def _attend(job: Job) -> None:
    access = LiveKitAccess(job.url, job.key, job.secret)
    pcm, rate = read_wav(SAMPLE)
    talkers: dict[str, Talker] = {}
    try:
        for number, room in enumerate(job.rooms):
            turns = utterances(pcm, rate, number * 97)
            talkers[room] = Talker(
                access, AVATAR, turns, rate, duty=job.duty, interrupts=job.interrupts, seed=number
            )
            await talkers[room].start(room, AGENT)
        say("joined")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if line == "begin":
                for talker in talkers.values():
                    talker.begin()
            else:
                say(json.dumps({room: talker.result() for room, talker in talkers.items()}))
    finally:
        await asyncio.gather(*(talker.aclose() for talker in talkers.values()))
