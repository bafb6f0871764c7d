"""What the API says when a persona cannot serve."""

from __future__ import annotations

import asyncio

from app.errors import PersonaInvalid, PersonaNotFound
from app.personas.service import Catalogue
from engine import errors


async def require_persona(catalogue: Catalogue, name: str) -> None:
    """Returns when the persona is configured and its video is there."""
    try:
        await asyncio.to_thread(catalogue.settings, name)
    except errors.PersonaNotFound as error:
        raise PersonaNotFound(str(error)) from error
    except errors.PersonaError as error:
        raise PersonaInvalid(str(error)) from error
