"""The machine and versions that a report names."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bench.devstack import LocalError, livekit_binary
from bench.rooms.plan import Rig
from engine.core import cores

PACKAGES = ("livekit", "numpy", "opencv-python-headless", "torch", "triton", "tensorrt")
ROOT = Path(__file__).parents[2]


def facts(rig: Rig) -> dict[str, str]:
    """Name -> value, in the order in which they are shown."""
    found = {
        "Processor": f"{_processor()}, {cores.described()}",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": _gpu() or "none",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Packages": ", ".join(found for name in PACKAGES if (found := _package(name))),
        "LiveKit": _livekit(rig.livekit_server),
        "Source": _commit(),
        "Command": f"voipavatar {' '.join(sys.argv[1:])}",
    }
    settings = {**_from_environment(), **rig.env}
    if settings:
        found["Settings"] = ", ".join(f"{name}={value}" for name, value in settings.items())
    return found


def _from_environment() -> dict[str, str]:
    """Settings that the service inherits from our environment, without secrets and addresses."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("VOIPAVATAR_") and not any(w in name for w in ("KEY", "SECRET", "URL"))
    }


def _package(name: str) -> str:
    """Name and version; nothing where it is not installed."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _livekit(binary: Path | None) -> str:
    try:
        return _said(str(binary) if binary is not None else livekit_binary(), "--version")
    except LocalError as error:
        return str(error)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.machine())


def _gpu() -> str:
    return _said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def _commit() -> str:
    return _said("git", "-C", str(ROOT), "describe", "--always", "--dirty") or "no checkout"


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = said.stdout.strip().splitlines()
    return "; ".join(sorted(set(lines))) + (f" ({len(lines)})" if len(lines) > 1 else "")
