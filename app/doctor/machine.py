"""Checks of this machine: Python, folders, port, programs, devices, engines."""

from __future__ import annotations

import json
import platform
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import av

from app.api.readiness import PROBE
from app.config import Settings
from app.doctor.finding import Finding, State
from app.process.private_files import keep_private
from app.shipped import SCRIPTS
from engine import BackendUnavailable, backends, chosen_backend, cores
from engine.core.remedies import IN_CHECKOUT, reinstall
from engine.models.layout import missing, needed
from engine.prepare.tools import tools_in

NVIDIA = Path("/proc/driver/nvidia/version")


def python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()}, {cores.described()}")


def video() -> Finding:
    """PyAV reads and writes video; no ffmpeg program is used."""
    have = {"h264", "aac"} <= av.codecs_available
    detail = f"PyAV {av.__version__} with H.264; no ffmpeg program is needed"
    if have:
        return Finding("Video", "ok", detail)
    remedy = reinstall("--force-reinstall", "av", in_checkout="make clean setup")
    return Finding("Video", "missing", f"PyAV {av.__version__} has no H.264", remedy)


def data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    try:
        trouble = keep_private(folder)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(PROBE)
            if trouble:
                what, _, remedy = trouble.rpartition(": ")
                return Finding("Data folder", "note", what, remedy)
            return Finding("Data folder", "ok", f"{folder} is writable, by its owner only")
    except OSError as error:
        return Finding(
            "Data folder",
            "missing",
            f"{folder} is not writable: {error.strerror}",
            "export VOIPAVATAR_DATA_DIR=<a folder of yours>",
        )


def port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return _taken(settings, where, error)
    return Finding("Port", "ok", f"{where} is free")


def _taken(settings: Settings, where: str, error: OSError) -> Finding:
    if _is_ours(settings):
        return Finding("Port", "ok", f"the service answers on {where}")
    detail = f"{where} cannot be used now: {error.strerror}"
    return Finding("Port", "note", detail, "voipavatar serve --port <another>")


def _is_ours(settings: Settings) -> bool:
    """Reads no more than the service's own answer takes, since any program may answer."""
    asking = HTTPConnection(settings.host, settings.port, timeout=5)
    try:
        asking.request("GET", "/health", headers={"Accept-Encoding": "identity"})
        return bool(json.loads(asking.getresponse().read(100)) == {"status": "ok"})
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        asking.close()


def livekit_server() -> Finding:
    """The demo and the tests start their own; the service needs only LIVEKIT_URL."""
    if not IN_CHECKOUT:
        return _livekit_on_path()
    script = SCRIPTS / "livekit-server.sh"
    found = subprocess.run([script, "--look"], capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return Finding("LiveKit server", "ok", found.stdout.strip())
    return Finding(
        "LiveKit server",
        "note",
        "no livekit-server here; the demo and the tests start one",
        "make livekit-server",
    )


def _livekit_on_path() -> Finding:
    if (found := shutil.which("livekit-server")) is not None:
        return Finding("LiveKit server", "ok", found)
    return Finding(
        "LiveKit server",
        "note",
        "no livekit-server here; one on another machine serves as well",
        "docker run --rm --network host livekit/livekit-server --dev",
    )


def gpu() -> Finding:
    if not NVIDIA.is_file():
        return Finding("GPU", "note", "no NVIDIA driver: the CPU renders the faces")
    driver = re.search(r"\s(\d+\.[\d.]+)\s", NVIDIA.read_text())
    return Finding("GPU", "ok", f"NVIDIA driver {driver.group(1) if driver else 'of some version'}")


def weights(settings: Settings) -> Finding:
    try:
        missing(settings.models_dir, needed(settings.musetalk_version, settings.decoder))
    except BackendUnavailable as error:
        return Finding(
            "Weights",
            "note",
            str(error).removesuffix(error.remedy).strip(),
            "voipavatar models download && voipavatar models convert",
        )
    version = {"v15": "1.5", "v1": "1.0"}[settings.musetalk_version]
    return Finding("Weights", "ok", f"MuseTalk {version}, in {settings.models_dir.resolve()}")


def face_networks(settings: Settings) -> Finding:
    """The networks that find faces and the region to paint when a persona is prepared."""
    tools = tools_in(settings.models_dir)
    found = f"face: {tools.names['faces']}; painted region: {tools.names['mask']}"
    if tools.landmarks_path and tools.parser_path:
        return Finding("Persona preparation", "ok", found)
    return Finding("Persona preparation", "note", found, "voipavatar models download")


def engines(settings: Settings) -> list[Finding]:
    """The engine in use, and what keeps each other one from running here."""
    config = settings.engine_config()
    chosen = chosen_backend(config) if config.backend == "auto" else config.backend
    found = []
    for name in ("warp", "torch", "tensorrt"):
        serves = " (serves)" if name == chosen else ""
        try:
            backends.load(replace(config, backend=name))
        except BackendUnavailable as error:
            detail = str(error).removesuffix(error.remedy).strip()
            state: State = "missing" if serves else "note"
            found.append(Finding(f"Engine {name}{serves}", state, detail, error.remedy))
        else:
            found.append(Finding(f"Engine {name}{serves}", "ok", "can be loaded"))
    return found
