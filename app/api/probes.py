"""`/health`, `/ready` and `/metrics`, which need no key."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from app.api.deps import ServicesDep
from app.api.health import ASK_S
from app.errors import AppError, ClockSkew, Draining, Unhealthy
from app.http.problems import describe
from app.sessions.repository import SessionRepository

router = APIRouter(tags=["service"])


class HealthStatus(BaseModel):
    status: Literal["ok"] = "ok"


class ReadyStatus(BaseModel):
    status: Literal["ready"] = "ready"


@router.head("/health", responses=describe(Unhealthy))
@router.get("/health", responses=describe(Unhealthy))
async def health(services: ServicesDep) -> HealthStatus:
    """200 while the process works, even without its database."""
    services.health.require_health()
    return HealthStatus()


@router.head("/ready", responses=describe(Unhealthy, Draining, ClockSkew))
@router.get("/ready", responses=describe(Unhealthy, Draining, ClockSkew))
async def ready(services: ServicesDep) -> ReadyStatus:
    """200 while a session could start now; otherwise the first problem found."""
    if services.sessions.draining:
        raise Draining("The service is shutting down.")
    await services.health.require_readiness()
    return ReadyStatus()


@router.get("/metrics", response_class=Response, responses=describe())
async def metrics(services: ServicesDep) -> Response:
    """Metrics in Prometheus's text format."""
    try:
        async with asyncio.timeout(ASK_S), services.database.read() as session:
            live = await SessionRepository(session).count_live()
    except (AppError, TimeoutError):
        live = {}
    services.sessions.report_observations()
    return Response(services.metrics.page(live), media_type=CONTENT_TYPE_LATEST)
