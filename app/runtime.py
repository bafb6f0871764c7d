"""What sessions run on, as whoever opens it hands it to the control plane."""

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
    """What sessions run on."""

    engine: Engine
    make_runner: Callable[[SessionSpec], SessionRunner]
    pulses: Callable[[], Mapping[str, LoopLag]] = dict  # of other processes, by name


RuntimeFactory = Callable[[Settings, Catalogue], AbstractAsyncContextManager[Runtime]]
