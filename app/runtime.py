"""What sessions run on, as whoever opens it hands it to the control plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.protocols import Engine, Runner
from app.session_types import SessionSpec
from app.telemetry.loop_lag import Pulse


@dataclass(frozen=True, slots=True)
class Equipment:
    """What sessions run on."""

    engine: Engine
    make_runner: Callable[[SessionSpec], Runner]
    pulses: Callable[[], Mapping[str, Pulse]] = dict  # of other processes, by name


StageFactory = Callable[[Settings, Catalogue], AbstractAsyncContextManager[Equipment]]
