"""A child process of the service: given a job, controlled over a channel, stopped by closing it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Literal

import structlog

from app.config import Settings
from app.telemetry.native_stderr import stderr_for_children
from app.worker.channel import Channel
from engine import BackendUnavailable

log = structlog.get_logger(__name__)

Role = Literal["engine", "host"]

LEAVE_S = 5.0  # for an idle process to exit


class Child:
    """The service's side of a child process."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self.channel = channel

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, role: Role, name: str, settings: Settings, **job: Any) -> Child:
        """Returns once the process reports that it works.

        Its settings and job go through the channel, so that no secret shows in a process list.
        Raises BackendUnavailable, after cleaning up.
        """
        child = await cls._spawn(role, name)
        try:
            child.channel.send(settings=plain(settings), job=job)
            message = await child.channel.receive()
            if message is None or message["did"] != "started":
                detail = f"The process of {name} exited during startup; its log says more."
                raise BackendUnavailable(message["detail"] if message else detail)
        except BaseException:
            await child.aclose(LEAVE_S)
            raise
        log.info("process started", role=role, name=name, pid=child.pid)
        return child

    @classmethod
    async def _spawn(cls, role: Role, name: str) -> Child:
        """Raises BackendUnavailable if the system is out of processes, files or threads."""
        try:
            ours, its = socket.socketpair()
        except OSError as error:
            raise _refused(name, error) from error
        try:
            with its:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "app.worker", role, name, str(its.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stderr=stderr_for_children(),
                    pass_fds=[its.fileno()],
                    start_new_session=True,  # Ctrl-C goes to the service, which stops it cleanly
                )
            return cls(process, await Channel.on(ours))
        except BaseException as error:
            ours.close()  # a process that already runs notices and exits
            # Python waits for the process in a thread: RuntimeError if none can be started.
            if isinstance(error, OSError | RuntimeError):
                raise _refused(name, error) from error
            raise

    async def aclose(self, timeout_s: float) -> None:
        """Close the channel, on which the process exits; kill it if it does not. Idempotent."""
        await self.channel.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)


def _refused(name: str, error: Exception) -> BackendUnavailable:
    reason = getattr(error, "strerror", None) or str(error)
    return BackendUnavailable(
        f"The system cannot start a process for {name}: {reason}.",
        "Raise its limits on processes, open files and memory (ulimit -u, -n, -v; in a container "
        "--pids-limit).",
    )


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as JSON for `settings_of`, including the secret."""
    fields = settings.model_dump(mode="json")
    fields["livekit_api_secret"] = settings.livekit_api_secret.get_secret_value()
    names = {name: info.validation_alias or name for name, info in Settings.model_fields.items()}
    return {str(names[name]): value for name, value in fields.items()}


def settings_of(fields: dict[str, Any]) -> Settings:
    """The service's settings, regardless of this process's environment."""
    return Settings(_env_file=None, **fields)
