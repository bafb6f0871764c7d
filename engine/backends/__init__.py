"""What paints faces, chosen by name; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import logging

from engine.backends.base import Backend
from engine.config import EngineConfig
from engine.errors import BackendUnavailable
from engine.models.header import fingerprint
from engine.models.layout import missing, needed

log = logging.getLogger(__name__)


def load(config: EngineConfig) -> Backend:
    """The backend that the settings name; `auto` takes the best that can run here.

    It is not started yet, so a missing file or device may still show in its `start`.

    Raises:
        BackendUnavailable: no backend of that name, or its libraries are missing.
    """
    name = config.backend
    if name == "auto":
        name = best(config)
        log.info("engine backend chosen: %s", name)
    if name == "warp":
        from engine.backends.warp import WarpBackend

        return WarpBackend(config)
    if name == "torch":
        return _musetalk("musetalk_torch", "TorchBackend", "make setup-all", config)
    if name == "tensorrt":
        return _musetalk(
            "musetalk_tensorrt", "TensorRTBackend", "uv pip install -e '.[tensorrt]'", config
        )
    raise BackendUnavailable(
        f"There is no engine called {name!r}.", "Use auto, warp, torch or tensorrt."
    )


def best(config: EngineConfig) -> str:
    """The fastest backend that can run here as configured; why not a faster one is logged."""
    for name, check in (("tensorrt", _check_tensorrt), ("torch", _check_torch)):
        try:
            check(config)
        except Exception as error:  # of libraries that are there but do not load, too
            log.info("engine backend %s is left out: %s", name, error)
        else:
            return name
    return "warp"


def _musetalk(module: str, name: str, install: str, config: EngineConfig) -> Backend:
    """A backend whose libraries may be missing."""
    try:
        found = importlib.import_module(f"engine.backends.{module}")
    except ImportError as error:
        raise BackendUnavailable(
            f"The engine's libraries are not installed: {error}.", f"Install them with: {install}"
        ) from error
    backend: Backend = getattr(found, name)(config)
    return backend


def _check_tensorrt(config: EngineConfig) -> None:
    """Raises BackendUnavailable unless a plan of these weights fits this TensorRT and this GPU."""
    from engine.backends.trt import find_plan, flavour, load_tensorrt

    trt = load_tensorrt()
    if importlib.util.find_spec("pycuda") is None:
        raise BackendUnavailable("pycuda is not installed.")
    missing(config.models_dir, needed(config.version, config.decoder))
    wanted = config.models_dir, config.version, config.decoder, config.hearing
    find_plan(*wanted, flavour(trt), _gpu())


def _gpu() -> str:
    """Compute capability of this machine's GPU, as in sm89."""
    cuda = importlib.import_module("pycuda.driver")
    cuda.init()
    return "sm{}{}".format(*cuda.Device(0).compute_capability())


def _check_torch(config: EngineConfig) -> None:
    """Raises BackendUnavailable unless the converted networks are there, and a GPU."""
    if importlib.util.find_spec("torch") is None:
        raise BackendUnavailable("PyTorch is not installed.", "Run `make setup-all`.")
    names = needed(config.version, config.decoder)
    missing(config.models_dir, names)
    fingerprint(config.models_dir, names)
    if not importlib.import_module("torch").cuda.is_available():
        raise BackendUnavailable("PyTorch finds no NVIDIA GPU here.")
