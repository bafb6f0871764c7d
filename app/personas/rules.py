"""API errors for personas that cannot be used."""

from __future__ import annotations

import asyncio

from app.errors import PersonaInvalid, PersonaNotFound, Unhealthy, shortage_problem
from app.personas.catalogue import Catalogue
from engine.core import engine_errors as errors


async def require_persona(catalogue: Catalogue, name: str) -> None:
    """Returns if the persona is configured and its video exists."""
    try:
        await asyncio.to_thread(catalogue.settings, name)
    except errors.PersonaMissing as error:
        raise PersonaNotFound(str(error)) from error
    except errors.PersonaError as error:
        raise PersonaInvalid(str(error)) from error


async def require_any_persona(catalogue: Catalogue) -> None:
    """Returns if a session could start now with at least one persona."""
    try:
        await asyncio.to_thread(catalogue.require_usable)
    except errors.PersonaError as error:
        raise Unhealthy(f"No persona can be used. {error}") from error
    except errors.EngineError as error:
        raise shortage_problem(error) or Unhealthy(str(error)) from error
