"""Load clients for many rooms, in a process apart from the one that is measured.

The protocol is lines on standard input and output: a job, answered once all clients have joined;
`begin` resets the counters; `end` is answered with the counts since. The process leaves when its
input ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from bench.devstack import LiveKit

AVATAR = "avatar"
PERSON = "person"
AGENT = "agent"
ROOMS_EACH = 8  # rooms a Python process: more would be held up by its own events (livekit.md §2.8)
JOIN_S = 120.0
LEAVE_S = 10.0

Counted = dict[str, dict[str, Any]]
"""Room -> what was counted there."""


def access_of(livekit: LiveKit) -> dict[str, str]:
    """What a job says of the server."""
    return {"url": livekit.url, "key": livekit.key, "secret": livekit.secret}


def python(module: str) -> list[str | Path]:
    """The command of a crew that is `module.main()`."""
    start = (
        "from bench.rooms.load_clients import keep_answers_apart; "
        "from app.rtc.exit import ended_by; "
        f"from {module} import main; "
    )
    return [sys.executable, "-c", f"{start}keep_answers_apart(); ended_by(main)"]


class Crew:
    """The parent's end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(
        cls,
        command: Sequence[str | Path],
        job: Mapping[str, Any],
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """Returns when all have joined. Raises RuntimeError when they could not."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 30,  # one line holds the times of all pictures
            env={**os.environ, **(env or {})},
        )
        crew = cls(process)
        try:
            await crew._tell(json.dumps(job))
            await asyncio.wait_for(crew._hear(), JOIN_S)
        except BaseException:
            await crew.aclose()
            raise
        return crew

    async def begin(self) -> None:
        await self._tell("begin")

    async def end(self) -> Counted:
        await self._tell("end")
        counted: Counted = json.loads(await self._hear())
        return counted

    async def aclose(self) -> None:
        """Close its input, at which it leaves. Idempotent."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), LEAVE_S)
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


def keep_answers_apart() -> None:
    """In the child: what libraries print goes to standard error, answers alone to the parent."""
    # LiveKit's library complains of handles that are dropped after it has left; what fails, raises.
    logging.getLogger("livekit").setLevel(logging.CRITICAL)
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)


def say(line: str) -> None:
    """The child's answer."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
