"""What paints faces, chosen by name; each is imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from pathlib import Path

from engine.backends.backend import Backend
from engine.core.engine_errors import BackendUnavailable
from engine.core.remedies import install_extras
from engine.engine_config import EngineConfig
from engine.models.header import fingerprint
from engine.models.layout import missing, needed

log = logging.getLogger(__name__)


def load(config: EngineConfig) -> Backend:
    """The backend that the settings name; `engine.serving.choice` knows what `auto` means.

    It is not started yet, so a missing file or device may still show in its `start`.

    Raises:
        BackendUnavailable: no backend of that name, or its libraries are missing.
    """
    name = config.backend
    if name == "warp":
        from engine.backends.warp import WarpBackend

        return WarpBackend(config)
    if name == "torch":
        return _musetalk("musetalk_torch", "TorchBackend", install_extras("models"), config)
    if name == "tensorrt":
        install = install_extras("models", "tensorrt")
        return _musetalk("musetalk_tensorrt", "TensorRTBackend", install, config)
    raise BackendUnavailable(
        f"There is no engine called {name!r}.", "Use auto, warp, torch or tensorrt."
    )


def usable(config: EngineConfig) -> tuple[str, ...]:
    """MuseTalk's backends that can run here as configured; why one cannot is logged."""
    found = []
    for name, check in (("torch", _check_torch), ("tensorrt", _check_tensorrt)):
        try:
            check(config)
        except Exception as error:  # of libraries that are there but do not load, too
            log.info("engine backend %s is left out: %s", name, error)
        else:
            found.append(name)
    return tuple(found)


def identity_of_choice(config: EngineConfig, names: tuple[str, ...]) -> dict[str, str]:
    """All that the faster of these backends depends on."""
    from engine.models.torch_device import described

    found = {
        **described(importlib.import_module("torch").device("cuda")),
        "choice": " ".join(names),
        "weights": fingerprint(config.models_dir, needed(config.version, config.decoder)),
        "hearing": f"{config.hearing.rows} rows",
    }
    if "tensorrt" in names:
        found["plans"] = " ".join(path.name for path in _plans(config).values())
    return found


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
    """Raises BackendUnavailable unless plans of these weights fit this TensorRT and this GPU."""
    _check_torch(config)
    _plans(config)


def _plans(config: EngineConfig) -> dict[str, Path]:
    from engine.backends.trt import find_plans, flavour, load_tensorrt

    wanted = config.models_dir, config.version, config.decoder, config.hearing
    return find_plans(*wanted, flavour(load_tensorrt()), _gpu())


def _gpu() -> str:
    """Compute capability of this machine's GPU, as in sm89."""
    cuda = importlib.import_module("torch").cuda
    return "sm{}{}".format(*cuda.get_device_capability())


def _check_torch(config: EngineConfig) -> None:
    """Raises BackendUnavailable unless the converted networks are there, and a GPU."""
    if importlib.util.find_spec("torch") is None:
        remedy = f"Install it with: {install_extras('models')}"
        raise BackendUnavailable("PyTorch is not installed.", remedy)
    names = needed(config.version, config.decoder)
    missing(config.models_dir, names)
    fingerprint(config.models_dir, names)
    if not importlib.import_module("torch").cuda.is_available():
        raise BackendUnavailable("PyTorch finds no NVIDIA GPU here.")
