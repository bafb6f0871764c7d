"""API keys, stored as hashes only."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.db.columns import now
from app.db.database import Database
from app.db.tables import ApiKeyRow


class NameTaken(Exception):
    """An active key has that name already."""


async def create_key(database: Database, name: str) -> str:
    """Create a key and return it, which is possible only now. Raises NameTaken."""
    key = f"va_{secrets.token_urlsafe(32)}"
    try:
        async with database.write() as session:
            session.add(ApiKeyRow(name=name, key_hash=hash_of(key), created_at=now()))
    except IntegrityError as error:
        raise NameTaken(f"An active key named {name!r} exists.") from error
    return key


async def list_keys(database: Database) -> Sequence[ApiKeyRow]:
    async with database.read() as session:
        return (await session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.id))).all()


async def revoke_key(database: Database, name: str) -> bool:
    """False if no active key has that name."""
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


def hash_of(key: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(key.encode()).hexdigest()
