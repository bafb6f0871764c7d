"""Turns speech into faces for every session at once. Knows pictures; no rooms, SQL or HTTP.

The names below are all that the service uses while it runs; the rest of the package is private to
it. The command, the doctor and the preparation of personas also reach the tools: `engine.prepare`,
`engine.models`, `engine.media`, `engine.parity`, `engine.backends`. `make check` verifies both.

- `EnginePool`, `Stream`: one device for all sessions, and one session's speech in, pictures out.
- `EngineServer`, `remote_pool`: a pool that runs in a process of its own, and the way to it.
- `EngineConfig`, `EngineStats`: settings of a pool, and its counters. `chosen_backend`: what the
  setting `auto` means on this machine.
- `Persona`, `Picture`: a prepared avatar, and one finished frame of it (I420).
- `SilenceGate`: decides by loudness what is silence.
- `EngineError` and its kinds; `shortage_of`, `out_of_descriptors` and `reason_of` explain errors.
- `FPS`, `FRAME_S`, `SAMPLE_RATE`, `SAMPLES_PER_FRAME`: the time base that sound and pictures share.
- `Backoff`, `cores`, `priority`: pauses between attempts, usable cores, real-time threads.
- `remedies`: the commands that error messages suggest.
"""

import importlib
from typing import TYPE_CHECKING

from engine.core.cores import limit_libraries

limit_libraries()  # before numpy, OpenCV and torch are imported, which read their settings then

if TYPE_CHECKING:
    from engine.audio.silence import SilenceGate
    from engine.core import cores, priority, remedies
    from engine.core.backoff import Backoff
    from engine.core.engine_errors import (
        BackendUnavailable,
        EngineError,
        PersonaError,
        PoolFull,
        ResourceShortage,
        StorageFault,
        reason_of,
    )
    from engine.core.persona import Persona
    from engine.core.shortage import out_of_descriptors, shortage_of
    from engine.core.types import (
        FPS,
        FRAME_S,
        SAMPLE_RATE,
        SAMPLES_PER_FRAME,
        EngineStats,
        Picture,
    )
    from engine.engine_config import EngineConfig
    from engine.remote.client import remote_pool
    from engine.remote.engine_server import EngineServer
    from engine.serving.choice import chosen_backend
    from engine.serving.pool import EnginePool
    from engine.serving.stream import Stream
else:
    # Imported on first use: a command that paints nothing should not wait for OpenCV.
    _HOME = {
        "engine.audio.silence": ("SilenceGate",),
        "engine.core": ("cores", "priority", "remedies"),
        "engine.core.backoff": ("Backoff",),
        "engine.core.engine_errors": (
            "BackendUnavailable",
            "EngineError",
            "PersonaError",
            "PoolFull",
            "ResourceShortage",
            "StorageFault",
            "reason_of",
        ),
        "engine.core.persona": ("Persona",),
        "engine.core.shortage": ("out_of_descriptors", "shortage_of"),
        "engine.core.types": (
            "FPS",
            "FRAME_S",
            "SAMPLE_RATE",
            "SAMPLES_PER_FRAME",
            "EngineStats",
            "Picture",
        ),
        "engine.engine_config": ("EngineConfig",),
        "engine.remote.client": ("remote_pool",),
        "engine.remote.engine_server": ("EngineServer",),
        "engine.serving.choice": ("chosen_backend",),
        "engine.serving.pool": ("EnginePool",),
        "engine.serving.stream": ("Stream",),
    }
    _MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

    def __getattr__(name):
        if (module := _MODULE_OF.get(name)) is None:
            raise AttributeError(f"module 'engine' has no attribute {name!r}")
        if module == "engine.core":
            found = importlib.import_module(f"{module}.{name}")
        else:
            found = getattr(importlib.import_module(module), name)
        globals()[name] = found
        return found


__all__ = [
    "FPS",
    "FRAME_S",
    "SAMPLES_PER_FRAME",
    "SAMPLE_RATE",
    "BackendUnavailable",
    "Backoff",
    "EngineConfig",
    "EngineError",
    "EnginePool",
    "EngineServer",
    "EngineStats",
    "Persona",
    "PersonaError",
    "Picture",
    "PoolFull",
    "ResourceShortage",
    "SilenceGate",
    "StorageFault",
    "Stream",
    "chosen_backend",
    "cores",
    "out_of_descriptors",
    "priority",
    "reason_of",
    "remedies",
    "remote_pool",
    "shortage_of",
]
