"""Conditions for starting a session, which `/ready` checks."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from app.api.health import Check
from app.config import Settings
from app.db.database import Database
from app.errors import ResourcesExhausted, StorageUnavailable, Unhealthy, shortage_problem
from app.personas.catalogue import Catalogue
from app.personas.rules import require_any_persona
from app.protocols import Engine
from app.rtc.sdk.clocks import ClockCheck
from app.sessions.instances import Instance

PROBE = b"voipavatar" * 1000  # over one block, since an empty file fits on a full disk


def readiness_checks(
    settings: Settings,
    database: Database,
    catalogue: Catalogue,
    instance: Instance,
    engine: Engine,
) -> dict[str, Check]:
    """The checks by subject."""
    return {
        # The first two open nothing, so they work even when no descriptor is left.
        "the processes of sessions": lambda: _worker(engine),
        "sessions that another process left": lambda: _settled(instance),
        "the database": database.ping,
        "the data folder": lambda: asyncio.to_thread(require_writable, settings.data_dir),
        "the personas": lambda: require_any_persona(catalogue),
        "the clock": ClockCheck(settings),
    }


def require_writable(folder: Path) -> None:
    """Raises StorageUnavailable unless a file can be written there now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(PROBE)
    except OSError as error:
        if isinstance(problem := shortage_problem(error), ResourcesExhausted):
            raise problem from error
        raise StorageUnavailable(
            f"The data folder {folder} is not writable ({error.strerror}). Free space on its "
            "disk, or set VOIPAVATAR_DATA_DIR to a writable folder."
        ) from error


async def _worker(engine: Engine) -> None:
    if (reason := engine.no_worker) is not None:
        raise Unhealthy(reason)


async def _settled(instance: Instance) -> None:
    if not instance.settled:
        raise Unhealthy("Still checking for sessions that another process left behind.")
