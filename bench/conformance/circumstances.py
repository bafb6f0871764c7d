"""Where and with what versions a run was measured, so that reports can be compared."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import aiohttp
import psutil
from livekit.protocol.rtc import SignalResponse

from bench.conformance.target import LiveKit, Target

ROOT = Path(__file__).parents[2]
PACKAGES = ("livekit-agents", "livekit", "livekit-plugins-bey", "livekit-plugins-voipavatar")
UNKNOWN = "unknown"
ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All but `load_after` is known before the first case."""

    begun: str  # ISO 8601, UTC
    worker: str  # what was measured
    server: str
    packages: dict[str, str]  # of the suite's side, by name
    suite: str  # its commit
    machine: str  # on which suite, and perhaps everything else, runs
    load_before: float  # average of 1 min
    load_after: float


async def look_around(target: Target) -> Circumstances:
    """Ask the worker and its LiveKit server for their versions."""
    return Circumstances(
        begun=datetime.now(UTC).isoformat(timespec="seconds"),
        worker=await _worker(target),
        server=await _server(target.livekit),
        packages={name: _version(name) for name in PACKAGES},
        suite=await asyncio.to_thread(_commit),
        machine=_machine(),
        load_before=load(),
        load_after=0.0,
    )


def load() -> float:
    return round(os.getloadavg()[0], 1)


async def _worker(target: Target) -> str:
    """As the API describes itself; addresses of a private network are nobody's business."""
    if target.api_url is None:
        return f"the command {target.command}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as http,
            http.get(f"{target.api_url}/openapi.json") as answer,
        ):
            about = (await answer.json())["info"]
            return f"{about['title']} {about['version']}"
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
        return "a service that does not tell its name"


async def _server(livekit: LiveKit) -> str:
    """The version of a LiveKit server, which it sends to participants that join."""
    token = livekit.token(f"conformance-{secrets.token_hex(4)}", "suite")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as http,
            http.ws_connect(
                f"{livekit.url.rstrip('/')}/rtc",
                params={"access_token": token, "protocol": "15", "sdk": "python"},
            ) as socket,
        ):
            told = SignalResponse.FromString((await socket.receive(ASK_S)).data)
            return f"LiveKit server {told.join.server_info.version or UNKNOWN}"
    except (aiohttp.ClientError, TimeoutError, ValueError, TypeError):
        return f"LiveKit server, version {UNKNOWN}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return UNKNOWN


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty")
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return found.stdout.strip()


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{_processor()}, {os.cpu_count()} logical processors, {memory:.0f} GiB, {_system()}"


def _system() -> str:
    kernel = platform.release().split("-")[0]
    return f"{platform.system()} {kernel}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
