"""Checks of what the service depends on: LiveKit, the database, the personas."""

from __future__ import annotations

import asyncio
import shlex

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.config import Settings
from app.db.address import WrongAddress, parse_address
from app.db.database import Database
from app.db.failures import SETTING, unusable
from app.doctor.finding import Finding
from app.errors import AppError, LiveKitTokenRejected, Unhealthy
from app.personas.catalogue import Catalogue, PersonaInfo
from app.rtc.sdk.tokens import avatar_token
from app.rtc.sdk.validate import ask_livekit
from app.session_types import AudioSpec
from app.shipped import MIGRATIONS, PERSONAS
from engine import EngineError

DEV_KEYS = "export LIVEKIT_API_KEY=devkey LIVEKIT_API_SECRET=secret  # of livekit-server --dev"


async def livekit(settings: Settings) -> Finding:
    """Whether LIVEKIT_URL answers and accepts a token signed with the service's key."""
    if not (settings.livekit_api_key and settings.livekit_api_secret.get_secret_value()):
        return Finding(
            "LiveKit", "missing", "LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not set", DEV_KEYS
        )
    url = settings.livekit_url.rstrip("/")
    token = avatar_token(settings, "doctor", "doctor", "doctor", AudioSpec())
    try:
        await ask_livekit(url, token, ours=True)
    except LiveKitTokenRejected as error:
        return Finding("LiveKit", "missing", error.detail, DEV_KEYS)
    except AppError as error:
        return Finding("LiveKit", "missing", error.detail, "livekit-server --dev")
    return Finding("LiveKit", "ok", f"{url} answers and accepts the service's key")


async def database(settings: Settings) -> Finding:
    """Whether it answers and is up to date; if not, `serve` migrates it."""
    try:
        address = parse_address(settings.database)
    except WrongAddress as error:
        return _no_database(f"{SETTING} is unusable: {error}.")
    shown, file = address.shown, address.file
    if file is not None and not await asyncio.to_thread(file.is_file):
        return Finding("Database", "ok", f"{shown}, created at the first start")
    opened = Database(settings.database)
    try:
        async with opened.read() as session:
            at = await (await session.connection()).run_sync(_revision)
    except Unhealthy as error:
        return _no_database(unusable(address, error.__cause__ or error).detail)
    finally:
        await opened.aclose()
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if at == head:
        return Finding("Database", "ok", f"{shown}, migrated to {head}")
    return Finding("Database", "note", f"{shown} is at {at}, not {head}", "voipavatar serve")


def _no_database(detail: str) -> Finding:
    return Finding("Database", "missing", detail, f"export {SETTING}=<the URL of one that runs>")


async def personas(settings: Settings) -> list[Finding]:
    catalogue = Catalogue.of(settings)
    folder = settings.personas_dir.resolve()
    try:
        listed = await catalogue.listing()
    except EngineError as error:
        return [Finding("Personas", "missing", str(error))]
    finally:
        await catalogue.aclose()
    if not listed:
        return [
            Finding(
                "Personas",
                "missing",
                f"{folder} has no personas.yaml with a persona in it",
                f"export VOIPAVATAR_PERSONAS_DIR={shlex.quote(str(PERSONAS))}",
            )
        ]
    return [_persona(info) for info in listed]


def _persona(info: PersonaInfo) -> Finding:
    what = f"Persona {info.name}"
    if info.problem:
        return Finding(what, "missing" if info.name == "default" else "note", info.problem)
    shape = f"{info.display_name}, {info.width} x {info.height}"
    if info.prepared:
        return Finding(what, "ok", f"{shape}, prepared")
    return Finding(
        what,
        "note",
        f"{shape}, prepared by its first session, which has to wait",
        f"voipavatar persona prepare --name {info.name}",
    )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
