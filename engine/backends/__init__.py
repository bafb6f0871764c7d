"""What paints faces, chosen by name; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import logging

from engine.backends.base import Backend
from engine.config import EngineConfig
from engine.errors import BackendUnavailable

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
    """The fastest backend whose libraries, device and weights are here, by what is seen quickly."""
    for name, ready in (("tensorrt", _has_plans), ("torch", _has_cuda_and_weights)):
        if ready(config):
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


def _has_plans(config: EngineConfig) -> bool:
    modules = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
    installed = any(importlib.util.find_spec(module) for module in modules)
    has_device = importlib.util.find_spec("pycuda") is not None
    return installed and has_device and any(config.models_dir.rglob("*.plan"))


def _has_cuda_and_weights(config: EngineConfig) -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    if not any(config.models_dir.rglob("*.safetensors")):
        return False
    return bool(importlib.import_module("torch").cuda.is_available())
