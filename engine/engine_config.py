"""The engine's settings: an immutable value. Nothing in the engine reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.audio.features import Hearing


@dataclass(frozen=True, slots=True)
class Stall:
    """Fault injection: the engine stalls for `duration_s`, `at_s` after a session's first frame.

    Applies only if that session still has its stream then.
    """

    at_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class EngineConfig:
    backend: str = "auto"  # auto | warp | torch | tensorrt
    silence_rms: float = (
        0.01  # of full scale; anything louder is never silence: engine/audio/silence.py
    )
    close_frames: int = 8  # pictures over which the mouth closes after speech
    run_ahead_s: float = 0.32  # how long before its deadline a picture may be requested
    utilisation: float = 0.85  # share of the measured capacity that sessions may use
    max_streams: int | None = None  # None: as many as the measured capacity allows
    hearing: Hearing = field(default_factory=Hearing)  # of MuseTalk's encoder
    models_dir: Path = Path("models")
    version: str = "v15"  # of MuseTalk: v15 | v1
    decoder: str = "kl"  # kl, as trained | tiny (TAESD), faster and less exact
    device: str = "auto"  # of the torch backend: auto | cuda | cpu
    realtime: bool = False  # run the device's thread in the real-time class, where permitted
    stalls: tuple[Stall, ...] = field(default=())
