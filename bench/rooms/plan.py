"""What a benchmark runs, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.rooms.limits import Limits, limits

Source = Literal["microphone", "agent"]
Receiver = Literal["count", "sdk", "decode"]


class BenchError(Exception):
    """The benchmark could not be run; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """The number of rooms, their speakers and their receivers."""

    sessions: int
    seconds: float
    persona: str = "default"
    size: tuple[int, int] | None = None
    duty: float = 1.0  # share of the time that is speech
    source: Source = "microphone"
    receiver: Receiver = "count"
    interrupts: float = 0.3  # share of an agent's turns that it interrupts
    limits: Limits = field(default_factory=limits)


@dataclass(frozen=True, slots=True)
class Rig:
    """Settings of the service under test, and binaries made elsewhere."""

    env: Mapping[str, str] = field(default_factory=dict)
    livekit_server: Path | None = None
    people: Path | None = None
    keep: Path | None = None  # folder for logs; None: a temporary one
