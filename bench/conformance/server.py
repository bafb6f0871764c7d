"""A LiveKit server of the suite's own, to be killed and started again in mid-speech."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.conformance.target import LiveKit

SCRIPT = Path(__file__).parents[2] / "scripts" / "livekit-server.sh"
START_S = 10.0
KEY = "restarted"


class NoServer(Exception):
    """There is no livekit-server on this machine, or it does not start."""


class Server:
    """Answers at the same address with the same key after each start; rooms do not survive."""

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._port = _free_port()
        udp_port = _free_port(socket.SOCK_DGRAM)
        secret = secrets.token_hex(24)
        self._config = {
            "port": self._port,
            "bind_addresses": ["127.0.0.1"],
            "rtc": {
                "use_external_ip": False,
                "node_ip": "127.0.0.1",
                "enable_loopback_candidate": True,
                "tcp_port": _free_port(),
                "udp_port": udp_port,
                # Else clients ask public STUN servers, and wait for the answer.
                "stun_servers": [f"127.0.0.1:{udp_port}"],
            },
            "keys": {KEY: secret},
            "logging": {"level": "error"},
        }
        self._process: asyncio.subprocess.Process | None = None
        self.livekit = LiveKit(f"ws://127.0.0.1:{self._port}", KEY, secret)

    async def start(self) -> None:
        """Raises NoServer."""
        self._process = await asyncio.create_subprocess_exec(
            self._binary,
            env={**os.environ, "LIVEKIT_CONFIG": json.dumps(self._config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if await self._answers():
                return
            await asyncio.sleep(0.05)
        raise NoServer(f"livekit-server did not answer within {START_S:g} s")

    async def kill(self) -> None:
        """Stop as in a crash, without notice to clients. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True


@contextlib.asynccontextmanager
async def own_server() -> AsyncIterator[Server]:
    """Raises NoServer."""
    found = await asyncio.to_thread(
        lambda: subprocess.run([SCRIPT, "--look"], stdout=subprocess.PIPE, text=True, check=False)
    )
    if found.returncode != 0:
        raise NoServer("there is no livekit-server here: make livekit-server")
    server = Server(found.stdout.strip())
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


def _free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
