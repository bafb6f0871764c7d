"""A worker that is a command, started once for each room: its process and what it printed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Mapping
from typing import IO

from bench.conformance.choice import Unfit
from bench.conformance.telling import redacted

STOP_S = 10.0  # between a request to end and force
LINES, CHARACTERS = 5, 1000  # of its last words
TAIL = 1 << 16  # bytes of its output in which they are looked for


class Gone(Exception):
    """The worker's process has ended when it was needed; the message says how."""


class InVain(TimeoutError):
    """What was waited for did not come; the message says what."""


def words_of(command: str) -> list[str]:
    """As a shell would split it. Raises Unfit when there is no such program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Unfit(f"--command cannot be read as a shell would: {error}.") from error
    if not words:
        raise Unfit("--command names no program.")
    if shutil.which(words[0]) is None:
        raise Unfit(f"There is no program {words[0]}: give --command its full path.")
    return words


class Worker:
    """One process, and all that it starts."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, command: str, env: Mapping[str, str]) -> Worker:
        """Raises Unfit."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 # closed in stop()
        try:
            process = await asyncio.create_subprocess_exec(
                *words_of(command),
                env={**os.environ, **env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # so that whatever it starts ends with it
            )
        except OSError as error:
            log.close()
            raise Unfit(f"{command} cannot be started: {error.strerror}.") from error
        return cls(process, log)

    @property
    def code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    @property
    def failed(self) -> bool:
        """A worker that exited with 0 may have asked another process to join."""
        return self.code not in (None, 0)

    @property
    def how(self) -> str:
        """It is, or has ended."""
        if self.code is None:
            return "still runs"
        return f"exited with code {self.code}" if self.code >= 0 else f"died of signal {-self.code}"

    def state(self) -> str:
        """How it is, and its last words."""
        words = self.last_words()
        told = f"its last lines: {words}" if words else "it has printed nothing"
        return f"the worker {self.how}; {told}"

    def last_words(self) -> str:
        start = max(0, os.fstat(self._log.fileno()).st_size - TAIL)
        # At an offset of our own: the worker writes on at the file's.
        text = os.pread(self._log.fileno(), TAIL, start).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        # Before it is cut: the end of a token looks like nothing in particular.
        return redacted(" / ".join(lines[-LINES:]))[-CHARACTERS:]

    async def wait(self, timeout_s: float) -> bool:
        """Whether it ended by itself within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        return self.code is not None

    async def stop(self) -> None:
        """End it and all that it started. Idempotent."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            if await self.wait(STOP_S):
                break
        self._log.close()
