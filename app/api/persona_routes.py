"""`GET /personas`."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import CatalogueDep
from app.errors import PersonaInvalid
from app.http.problems import describe
from engine import PersonaError

router = APIRouter(tags=["personas"])


class PersonaView(BaseModel):
    """A persona; `problem` says why it cannot be used."""

    name: str
    display_name: str
    engine: str
    width: int | None
    height: int | None
    prepared: bool
    problem: str | None


class PersonaList(BaseModel):
    items: list[PersonaView]


@router.get("/personas", responses=describe(PersonaInvalid))
async def list_personas(personas: CatalogueDep) -> PersonaList:
    """Every persona that personas.yaml configures."""
    try:
        known = await personas.listing()
    except PersonaError as error:
        raise PersonaInvalid(str(error)) from error
    return PersonaList(
        items=[PersonaView.model_validate(info, from_attributes=True) for info in known]
    )
