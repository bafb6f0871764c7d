"""API keys: made on the command line, kept as hashes, asked for by every request."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.db.base import now
from app.db.database import Database
from app.db.models import ApiKeyRow
from app.errors import Forbidden, Unauthenticated

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
    database: Database, headers: Mapping[str, str], client: str | None, *, insecure: bool
) -> None:
    """Returns when the request may go on. Keys are read afresh each time: they are few.

    With no key ever made, only this machine may call, or everybody with `insecure`. A revoked key
    still counts as made: revoking the last one must not open the door.

    Raises Unauthenticated, or Forbidden where no key could help.
    """
    keys = await list_keys(database)
    if not keys:
        if insecure or (is_loopback(client) and _names_this_machine(headers.get("host", ""))):
            return
        raise Forbidden("No API key exists yet; make one with `voipavatar keys create NAME`.")
    presented = _hash(_presented(headers))
    # Every one is compared, so that the time taken tells nothing.
    known = [hmac.compare_digest(presented, key.key_hash) for key in keys if not key.revoked_at]
    if not any(known):
        raise Unauthenticated(
            "Send a valid key as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        )


def is_loopback(address: str | None) -> bool:
    """A Unix socket, which has no address, is this machine too."""
    if address is None:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _names_this_machine(host: str) -> bool:
    """Whether a `Host` header is an address or localhost.

    A page in a browser here may call us by a name of its own that it made resolve to 127.0.0.1.
    """
    name = urlsplit(f"//{host}").hostname or "localhost"
    return name == "localhost" or re.fullmatch(r"[0-9.]+|[0-9a-f:.]+:[0-9a-f:.]*", name) is not None


def _presented(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def _hash(key: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(key.encode()).hexdigest()
