"""How much of each case is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    lengths: tuple[float, ...] = (1.0, 5.0, 30.0)  # seconds of segments
    repeats: int = 3  # of each rate and channel count
    turns: int = 30
    interrupts: int = 50
    lips: int = 20  # turns that are looked at
    storm: int = 200
    restarts: int = 2  # of the LiveKit server, of those in cases/restarts.py
    sync_s: float = 600.0
    soak: int = 500  # sessions


SHORT = Plan(
    lengths=(1.0,),
    repeats=1,
    turns=3,
    interrupts=2,
    lips=3,
    storm=10,
    restarts=1,
    sync_s=60.0,
    soak=40,
)
