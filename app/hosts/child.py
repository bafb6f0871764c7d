"""A process of the service: started with a job, spoken to over a channel, ended by its closing."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Literal

from app.config import Settings
from app.hosts.channel import Channel

Role = Literal["engine", "host"]


class Child:
    """The service's side of it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self.channel = channel

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, role: Role, name: str, settings: Settings, **job: Any) -> Child:
        """It gets the settings and the job as its first message, so that no secret of them shows
        in a list of processes."""
        ours, its = socket.socketpair()
        with its:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app.hosts", role, name, str(its.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,  # Ctrl-C is for the service, which ends this one in order
            )
        channel = await Channel.on(ours)
        channel.send(settings=plain(settings), job=job)
        return cls(process, channel)

    async def aclose(self, patience_s: float) -> None:
        """Close the channel, at which it leaves; kill it when it does not. Idempotent."""
        await self.channel.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._process.wait()
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as JSON that `settings_of` takes, the secret included."""
    fields = settings.model_dump(mode="json")
    fields["livekit_api_secret"] = settings.livekit_api_secret.get_secret_value()
    names = {name: info.validation_alias or name for name, info in Settings.model_fields.items()}
    return {str(names[name]): value for name, value in fields.items()}


def settings_of(fields: dict[str, Any]) -> Settings:
    """The settings that the service has, whatever this process's environment says."""
    return Settings(_env_file=None, **fields)
