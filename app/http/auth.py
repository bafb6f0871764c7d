"""API keys: made on the command line, kept as hashes, asked for by every request."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from starlette.datastructures import Headers

from app.db.columns import now
from app.db.database import Database
from app.db.tables import ApiKeyRow
from app.errors import Forbidden, Unauthenticated
from app.http.caller import is_this_machine

FREE = frozenset(
    {"/health", "/ready", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
)


class NameTaken(Exception):
    """An active key of that name exists."""


async def create_key(database: Database, name: str) -> str:
    """The new key, which is shown only now. Raises NameTaken."""
    key = f"va_{secrets.token_urlsafe(32)}"
    try:
        async with database.write() as session:
            session.add(ApiKeyRow(name=name, key_hash=_hash(key), created_at=now()))
    except IntegrityError as error:
        raise NameTaken(f"An active key named {name!r} exists.") from error
    return key


async def list_keys(database: Database) -> Sequence[ApiKeyRow]:
    async with database.read() as session:
        return (await session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.id))).all()


async def revoke_key(database: Database, name: str) -> bool:
    """False when no active key has that name."""
    async with database.write() as session:
        revoked = await session.execute(
            update(ApiKeyRow)
            .where(ApiKeyRow.name == name, ApiKeyRow.revoked_at.is_(None))
            .values(revoked_at=now())
            .returning(ApiKeyRow.id)
        )
        return revoked.first() is not None


async def has_active_key(database: Database) -> bool:
    async with database.read() as session:
        active = select(func.count()).where(ApiKeyRow.revoked_at.is_(None))
        return bool(await session.scalar(active))


async def authorise(
    database: Database,
    headers: Headers,
    client: str | None,
    *,
    insecure: bool,
    http_version: str = "1.1",
) -> None:
    """Returns when the request may go on. Keys are read afresh each time: they are few. While the
    database does not answer, those that were read last count, so that calls can be ended.

    With no key ever made, only this machine may call, or everybody with `insecure`. A revoked key
    still counts as made: revoking the last one must not open the door.

    Raises Unauthenticated, or Forbidden where no key could help.
    """
    keys = await database.recall("keys", lambda: list_keys(database))
    if not keys:
        if insecure or is_this_machine(headers, client, http_version):
            return
        raise Forbidden(
            "No API key exists yet, so only this machine may call, and not through a proxy: make "
            "a key with `voipavatar keys create NAME`."
        )
    presented = _hash(_presented(headers))
    # Every one is compared, so that the time taken tells nothing.
    known = [hmac.compare_digest(presented, key.key_hash) for key in keys if not key.revoked_at]
    if not any(known):
        raise Unauthenticated(
            "Send a valid key as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        )


def caller_of(headers: Headers) -> str:
    """Tells callers apart, without their keys: the same for each request with one key."""
    return _hash(_presented(headers))[:16]


def _presented(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _hash(key: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(key.encode()).hexdigest()
