"""A LiveKit server and the service as child processes on loopback, for demo and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.config import settings
from app.personas.catalogue import Catalogue
from app.shipped import SCRIPTS
from engine.core.persona import Persona

LIVEKIT_START_S = 60.0
SERVICE_START_S = 120.0  # a cold start prepares the persona and warms the engine
STOP_S = 15.0  # the service drains its sessions for 10 s at most
# Connections idle for this long are not used again: the service closes them after 5 s,
# and who asks at that very moment is not answered.
IDLE = httpx.Limits(keepalive_expiry=2.0)


# Runs what follows in the real-time class, where that is permitted: livekit-server instead of a
# machine of its own. (A class that threads started later inherit, and that no nice value outdoes.)
FIRST = (
    "import contextlib, os, sys\n"
    "with contextlib.suppress(OSError, AttributeError):\n"
    "    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class LocalError(Exception):
    """Something could not be started here; the message says what and where its log is."""


@dataclass(slots=True)
class Child:
    """A process of ours, its log, whether it is to outlive us, and when to insist that it ends."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    keep: bool = False
    insist_s: float = STOP_S  # between one SIGTERM and the next

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """Ask it to end and wait until it has; kill it when it does not. Idempotent."""
        deadline = time.monotonic() + STOP_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.insist_s)
        self.process.kill()
        self.process.wait()

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


@dataclass(frozen=True, slots=True)
class LiveKit:
    """A running server and the key to it."""

    url: str
    key: str
    secret: str = field(repr=False)
    child: Child


@dataclass(frozen=True, slots=True)
class Service:
    """A running service and a client for its API."""

    url: str
    http: httpx.AsyncClient
    child: Child


def free_port(preferred: int = 0, kind: int = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody uses now: the preferred one if it is free.

    Others are taken from below the range that systems give to outgoing connections: a port out of
    that may be gone again before it is used.
    """
    candidates = [preferred] if preferred else []
    candidates += random.sample(range(20_000, 32_000), 50)
    for port in candidates:
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LocalError("No port is free on 127.0.0.1.")


@contextlib.asynccontextmanager
async def local_livekit(
    folder: Path,
    *,
    port: int = 0,
    binary: Path | None = None,
    first: bool = False,
    secret: str = "",
    room: Mapping[str, Any] | None = None,
) -> AsyncIterator[LiveKit]:
    """A LiveKit server that only this machine can reach. Raises LocalError.

    Args:
        first: it goes before ordinary work. What is measured through it then owes nothing to its
            waiting for a processor.
        secret: of its key; by default a new one.
        room: its `room` settings.
    """
    program = str(binary) if binary is not None else await asyncio.to_thread(livekit_binary)
    port = free_port(port)
    key, secret = "local", secret or secrets.token_hex(24)
    config = _livekit_config(port, key, secret) | {"room": dict(room or {})}
    command = [sys.executable, "-c", FIRST, program] if first else [program]
    child = _start("livekit", command, {"LIVEKIT_CONFIG": json.dumps(config)}, folder)
    # It forgets a SIGTERM of its first 100 ms, and waits for participants at the first one.
    child.insist_s = 1.0
    try:
        await _answers(child, f"http://127.0.0.1:{port}/", LIVEKIT_START_S)
        yield LiveKit(f"ws://127.0.0.1:{port}", key, secret, child)
    finally:
        await _finish(child)


@contextlib.asynccontextmanager
async def local_service(
    folder: Path,
    livekit: LiveKit,
    *,
    port: int = 0,
    env: dict[str, str] | None = None,
) -> AsyncIterator[Service]:
    """`voipavatar serve` with its data in `folder` (absolute), once it says that it is ready.

    Raises LocalError.
    """
    port = free_port(port)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "LIVEKIT_URL": livekit.url,
        "LIVEKIT_API_KEY": livekit.key,
        "LIVEKIT_API_SECRET": livekit.secret,
        "VOIPAVATAR_DATA_DIR": str(folder),
        # A .env in the working directory may name a database that is not for playing with.
        "VOIPAVATAR_DATABASE_URL": f"sqlite:///{folder / 'voipavatar.db'}",
        **(env or {}),
    }
    command = [*voipavatar(), "serve", "--host", "127.0.0.1", "--port", str(port)]
    child = _start("voipavatar", command, environment, folder)
    try:
        await _answers(child, f"{url}/ready", SERVICE_START_S)
        async with httpx.AsyncClient(base_url=url, timeout=30.0, limits=IDLE) as http:
            yield Service(url, http, child)
    finally:
        await _finish(child)


async def prepare_persona(folder: Path, name: str, size: tuple[int, int] | None = None) -> Persona:
    """Prepare it where a service with its data in `folder` will look for it. Raises EngineError."""
    known = settings()
    own = str(known.own_personas)
    catalogue = Catalogue.of(known.model_copy(update={"data_dir": folder, "own_personas_dir": own}))
    try:
        return await catalogue.load(name, *(size or (None, None)))
    finally:
        await catalogue.aclose()


def own_personas() -> dict[str, str]:
    """For the environment of a service whose data is elsewhere: the personas made here."""
    return {"VOIPAVATAR_OWN_PERSONAS_DIR": str(settings().own_personas.resolve())}


def voipavatar() -> list[str]:
    """The command line that runs this program with this Python."""
    return [sys.executable, "-c", "from app.cli import main; main()"]


def run_until_stopped(main: Coroutine[Any, Any, int]) -> int:
    """Run; Ctrl-C and SIGTERM alike end it through its `finally` blocks. The exit code."""

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None
        # Both by ourselves: Python leaves Ctrl-C alone in what a shell started in the background.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await main

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        return 130


def livekit_binary() -> str:
    """Path of this machine's LiveKit server. Raises LocalError rather than build one: a build takes
    minutes, and whoever waits for it here may see nothing of it."""
    script = SCRIPTS / "livekit-server.sh"
    found = subprocess.run([str(script), "--look"], stdout=subprocess.PIPE, check=False)
    if found.returncode != 0:
        raise LocalError(f"There is no LiveKit server yet; this gets one, or says how: {script}")
    return found.stdout.decode().strip()


def _livekit_config(port: int, key: str, secret: str) -> dict[str, Any]:
    """Loopback only: nothing is asked of the network outside (livekit.md §4.1)."""
    udp_port = free_port(kind=socket.SOCK_DGRAM)
    return {
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "rtc": {
            "use_external_ip": False,
            "node_ip": "127.0.0.1",
            "enable_loopback_candidate": True,
            "tcp_port": free_port(),
            "udp_port": udp_port,
            # Else the server names public STUN servers to clients; each connection keeps several
            # threads for the seconds in which a machine without network fails to resolve them.
            "stun_servers": [f"127.0.0.1:{udp_port}"],
        },
        "keys": {key: secret},
        "logging": {"level": "warn"},
    }


def _start(name: str, command: list[str], env: dict[str, str], folder: Path) -> Child:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop it in order.
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process, log)


async def _answers(child: Child, url: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    async with httpx.AsyncClient(timeout=5.0) as http:
        while time.monotonic() < deadline:
            if child.process.poll() is not None:
                raise LocalError(f"{child.name} ended at its start.\n{child.tail()}")
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(url)).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise LocalError(f"{child.name} was not ready within {timeout_s:.0f} s.\n{child.tail()}")


async def _finish(child: Child) -> None:
    """Stop a child even while we are being cancelled; leave it when it is to be kept."""
    if child.keep:
        return
    await asyncio.shield(asyncio.to_thread(child.stop))
