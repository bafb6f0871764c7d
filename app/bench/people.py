"""The people of some rooms, in a process of their own so that they don't load the one measured.

Spoken to by lines on standard input and output: a job, then `begin`, then `end`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from app.local import LiveKit
from app.measure.speech import SAMPLE, read_wav, talk
from app.rtc.measure.participant import LiveKitAccess
from app.rtc.measure.person import Person

ROOMS_EACH = 8  # rooms a process: more would be held up by their own events (livekit.md §2.8)
AVATAR = "avatar"
PERSON = "person"


@dataclass(frozen=True, slots=True)
class Job:
    """What the people of one process are to do."""

    url: str
    key: str
    secret: str
    rooms: list[str]
    duty: float
    decode: bool


class People:
    """The parent's end: starts the process, tells it when to count, takes what it counted."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, livekit: LiveKit, rooms: list[str], duty: float, decode: bool) -> People:
        """Returns when all have joined. Raises RuntimeError with what went wrong."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from app.bench.people import main; main()",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        people = cls(process)
        job = Job(livekit.url, livekit.key, livekit.secret, rooms, duty, decode)
        try:
            await people._tell(json.dumps(asdict(job)))
            await people._hear()
        except BaseException:
            await people.aclose()
            raise
        return people

    async def begin(self) -> None:
        await self._tell("begin")

    async def end(self) -> dict[str, dict[str, Any]]:
        """Room name -> what `Person.result` says."""
        await self._tell("end")
        result: dict[str, dict[str, Any]] = json.loads(await self._hear())
        return result

    async def aclose(self) -> None:
        """Close its input, at which it leaves. Idempotent."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10.0)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def _hear(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("The people of the benchmark could not join; see the lines above.")
        return line


def main() -> None:
    """The child's end."""
    job = Job(**json.loads(sys.stdin.readline()))
    asyncio.run(_attend(job))


async def _attend(job: Job) -> None:
    access = LiveKitAccess(job.url, job.key, job.secret)
    pcm, rate = read_wav(SAMPLE)
    people: dict[str, Person] = {}
    try:
        for number, room in enumerate(job.rooms):
            words = talk(pcm, rate, job.duty, number * 97)
            people[room] = Person(access, AVATAR, words, rate, decode=job.decode)
            await people[room].start(room, PERSON)
        _say("joined")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            if line == "begin":
                for person in people.values():
                    person.begin()
            else:
                results = {room: await person.result() for room, person in people.items()}
                _say(json.dumps(results))
    finally:
        await asyncio.gather(*(person.aclose() for person in people.values()))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
