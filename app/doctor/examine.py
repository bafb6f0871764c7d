"""Runs all checks, in the order in which a newcomer meets the parts."""

from __future__ import annotations

from app.config import Settings
from app.doctor import machine, services
from app.doctor.finding import Finding


async def examine(settings: Settings) -> list[Finding]:
    """Starts nothing; only creates the data folder if it does not exist."""
    return [
        machine.python(),
        machine.video(),
        machine.data_folder(settings),
        await services.database(settings),
        machine.port(settings),
        machine.livekit_server(),
        await services.livekit(settings),
        *await services.personas(settings),
        *machine.engines(settings),
        machine.gpu(),
        machine.weights(settings),
        machine.face_networks(settings),
    ]
