"""Dependencies of endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.api.health import Health
from app.config import Settings
from app.db.database import Database
from app.http.auth import caller_of
from app.personas.catalogue import Catalogue
from app.sessions.service import Sessions
from app.telemetry.prometheus import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan opened; part of every request's state."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    sessions: Sessions
    health: Health
    metrics: Metrics


async def _services(request: Request) -> Services:
    found: Services = request.state.services
    return found


ServicesDep = Annotated[Services, Depends(_services)]


async def _sessions(services: ServicesDep) -> Sessions:
    return services.sessions


async def _catalogue(services: ServicesDep) -> Catalogue:
    return services.catalogue


async def _requested_at(request: Request) -> float:
    arrived: float = request.state.requested_at
    return arrived


def _caller(request: Request) -> str:
    return caller_of(request.headers)


Caller = Annotated[str, Depends(_caller)]
SessionsDep = Annotated[Sessions, Depends(_sessions)]
CatalogueDep = Annotated[Catalogue, Depends(_catalogue)]
RequestedAt = Annotated[float, Depends(_requested_at)]
