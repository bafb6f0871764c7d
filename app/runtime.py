"""What sessions run on, as the control plane receives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.protocols import Engine, SessionRunner
from app.session_types import SessionSpec
from app.telemetry.loop_lag import LoopLag


@dataclass(frozen=True, slots=True)
class Runtime:
    """The engine, and a factory of session runners."""

    engine: Engine
    make_runner: Callable[[SessionSpec], SessionRunner]
    worker_lag: Callable[[], Mapping[str, LoopLag]] = dict  # loop lag of worker processes, by name


RuntimeFactory = Callable[[Settings, Catalogue], AbstractAsyncContextManager[Runtime]]
