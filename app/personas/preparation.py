"""Prepares a persona in a child process, which can be killed once nobody needs the result."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine import BackendUnavailable, EngineError, PersonaError
from engine.core import engine_errors as errors
from engine.core.shortage import blame
from engine.prepare.cache import unfinished_name
from engine.prepare.crop import Size
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import Tools

log = logging.getLogger(__name__)

SILENCE_S = 120.0  # without progress for this long, a decoder counts as hung
LONGEST_LINE = 1 << 20
OURS = ("VOIPAVATAR_", "LIVEKIT_", "OTEL_")  # not passed on to a decoder of untrusted files


@dataclass(frozen=True, slots=True)
class Preparation:
    """The arguments of `engine.prepare.build.prepare`."""

    name: str
    settings: PersonaSettings
    video: Path
    cache: Path
    size: Size | None
    tools: Tools

    async def run(self, progress: Callable[[float], None] | None = None) -> None:
        """Prepare the persona into the cache. Cancelling kills the process and cleans up.

        Raises:
            EngineError: the error of `prepare`, or PersonaError if its process crashed.
        """
        unfinished = unfinished_name()
        process = await _start()
        try:
            await self._follow(process, unfinished, progress)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()
            leftover = self.cache / unfinished
            await asyncio.to_thread(shutil.rmtree, leftover, ignore_errors=True)

    async def _follow(
        self,
        process: asyncio.subprocess.Process,
        unfinished: str,
        progress: Callable[[float], None] | None,
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(self._job(unfinished)).encode() + b"\n")
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    line = await process.stdout.readline()
            except TimeoutError:
                raise PersonaError(
                    f"The preparation of {self.video.name} stopped making progress and was ended."
                ) from None
            if not line:
                raise self._crashed(await process.wait())
            if self._handle(json.loads(line), progress):
                return

    def _handle(self, message: dict[str, Any], progress: Callable[[float], None] | None) -> bool:
        """True once preparation is done. Raises its error if it failed."""
        if "log" in message:
            level = logging.getLevelName(message["log"].upper())
            log.log(level, "%s", message["text"])
        if "failed" in message:
            raise _error(message["failed"], message["message"], message["remedy"])
        if "progress" in message and progress is not None:
            progress(message["progress"])
        return "done" in message

    def _crashed(self, status: int) -> EngineError:
        if status == -signal.SIGKILL:
            return EngineError(
                f"The preparation of {self.video.name} was killed, perhaps for lack of memory."
            )
        return PersonaError(
            f"{self.video.name} cannot be prepared: its decoder crashed (status {status})."
        )

    def _job(self, unfinished: str) -> dict[str, Any]:
        tools = (self.tools.landmarks_path, self.tools.parser_path)
        return {
            "name": self.name,
            "settings": asdict(self.settings),
            "video": str(self.video.absolute()),
            "cache": str(self.cache.absolute()),
            "size": self.size,
            "tools": [path and str(path.absolute()) for path in tools],
            "unfinished": unfinished,
        }


async def _start() -> asyncio.subprocess.Process:
    """Raises EngineError if the system cannot start a process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    try:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.prepare"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            env=environment,
            start_new_session=True,  # Ctrl-C goes to the service
        )
    except (OSError, RuntimeError) as error:
        raise blame(error, EngineError(f"The preparation could not start: {error}.")) from error


def _error(kind: str, message: str, remedy: str) -> EngineError:
    if kind == BackendUnavailable.__name__:
        return BackendUnavailable(message, remedy)
    found = getattr(errors, kind, EngineError)
    known = isinstance(found, type) and issubclass(found, EngineError)
    return found(message) if known else EngineError(message)
