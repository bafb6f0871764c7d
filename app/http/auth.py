"""Authorises callers: by API key, or by loopback address while no key exists."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers

from app.db.api_keys import hash_of, list_keys
from app.db.database import Database
from app.errors import Forbidden, Unauthenticated
from app.http.caller import is_this_machine

FREE = frozenset(
    {"/health", "/ready", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
)


async def authorise(
    database: Database,
    headers: Headers,
    client: str | None,
    *,
    insecure: bool,
    http_version: str = "1.1",
) -> None:
    """Return if the request may proceed. Raises Unauthenticated, or Forbidden if no key could help.

    Keys are few, so each request reads them afresh. While the database does not answer, the last
    keys read still count, so that callers can end their sessions.

    Before the first key is made, only this machine may call, or anybody with `insecure`. Revoked
    keys count as made: revoking the last one must not open the service.
    """
    keys = await database.recall("keys", lambda: list_keys(database))
    if not keys:
        if insecure or is_this_machine(headers, client, http_version):
            return
        raise Forbidden(
            "No API key exists yet, so only this machine may call, and not through a proxy: make "
            "a key with `voipavatar keys create NAME`."
        )
    presented = hash_of(_presented(headers))
    # Compare all of them, so that timing reveals nothing.
    known = [hmac.compare_digest(presented, key.key_hash) for key in keys if not key.revoked_at]
    if not any(known):
        raise Unauthenticated(
            "Send a valid key as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        )


def caller_of(headers: Headers) -> str:
    """Identifies a caller by its key without revealing it: the same for every request."""
    return hash_of(_presented(headers))[:16]


def _presented(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
