"""Receivers for some rooms on LiveKit's Python SDK, which decodes what they watch."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

from app.shipped import SAMPLE
from bench.clients.participant import LiveKitAccess
from bench.clients.person import Person
from bench.measure.speech import read_wav, talk
from bench.rooms.load_clients import AVATAR, PERSON, say


@dataclass(frozen=True, slots=True)
class Job:
    """The job of the receivers in one process."""

    url: str
    key: str
    secret: str
    rooms: list[str]
    duty: float  # 0: they only watch
    decode: bool


def main() -> None:
    """The child's end of a `Crew`."""
    job = Job(**json.loads(sys.stdin.readline()))
    asyncio.run(_attend(job))


async def _attend(job: Job) -> None:
    access = LiveKitAccess(job.url, job.key, job.secret)
    pcm, rate = read_wav(SAMPLE)
    people: dict[str, Person] = {}
    try:
        for number, room in enumerate(job.rooms):
            words = talk(pcm, rate, job.duty, number * 97) if job.duty else None
            people[room] = Person(access, AVATAR, words, rate, decode=job.decode)
            await people[room].start(room, PERSON)
        say("joined")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if line == "begin":
                for person in people.values():
                    person.begin()
            else:
                results = {room: await person.result() for room, person in people.items()}
                say(json.dumps(results))
    finally:
        await asyncio.gather(*(person.aclose() for person in people.values()))
