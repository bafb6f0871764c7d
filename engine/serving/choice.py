"""Which backend serves where the settings leave it open: the one that is measured to be faster."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from engine import backends
from engine.backends.backend import Backend
from engine.core.engine_errors import BackendUnavailable
from engine.engine_config import EngineConfig
from engine.serving import run_times, warmup
from engine.serving.scheduler import Scheduler

log = logging.getLogger(__name__)

Load = Callable[[EngineConfig], Backend]


def load_backend(config: EngineConfig) -> Backend:
    """The backend that the settings name, or of `auto` the fastest that runs here; not started.

    Raises BackendUnavailable, as `engine.backends.load`.
    """
    if config.backend != "auto":
        return backends.load(config)
    name = chosen_backend(config, backends.load)
    log.info("engine backend chosen: %s", name)
    return backends.load(replace(config, backend=name))


def chosen_backend(config: EngineConfig, load: Load | None = None) -> str:
    """The name of the backend that `auto` means on this machine.

    Where more than one can run, their times a picture are measured once and kept in the models
    folder, for these libraries, weights and this device. Starting a backend takes long, so without
    `load` nothing is measured, and the first usable one is named until something was.
    """
    usable = backends.usable(config)
    if len(usable) < 2:
        return usable[0] if usable else "warp"
    identity = backends.identity_of_choice(config, usable)
    path = run_times.path_for(config.models_dir, identity)
    times = _kept(path, usable)
    if times is None:
        if load is None:
            return usable[0]
        times = {name: _measured(replace(config, backend=name), load) for name in usable}
        _keep(path, identity, times)
    told = ", ".join(f"{name} {1000 * time:.2f} ms" for name, time in times.items())
    log.info("measured here, a picture takes: %s", told)
    return min(times, key=times.__getitem__)


def _measured(config: EngineConfig, load: Load) -> float:
    """Seconds a picture at the best batch size; infinite where the backend does not start."""
    log.info("engine backend %s is measured, once", config.backend)
    try:
        backend = load(config)
        backend.start()
    except BackendUnavailable as error:
        log.warning("engine backend %s is left out: %s", config.backend, error)
        return float("inf")
    try:
        return 1 / warmup.measure(backend, Scheduler(backend.rungs), config.models_dir).fps
    finally:
        backend.stop()


def _kept(path: Path, usable: tuple[str, ...]) -> dict[str, float] | None:
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        kept = {name: float(time) for name, time in json.loads(path.read_text())["times"].items()}
        if set(kept) == set(usable) and all(time > 0 for time in kept.values()):
            return kept
    return None


def _keep(path: Path, identity: dict[str, str], times: dict[str, float]) -> None:
    partial = path.with_suffix(".partial")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps({"of": identity, "times": times}, indent=1) + "\n")
        partial.replace(path)
