"""Who may call: an API key, or this machine itself while there is none."""

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
    presented = hash_of(_presented(headers))
    # Every one is compared, so that the time taken tells nothing.
    known = [hmac.compare_digest(presented, key.key_hash) for key in keys if not key.revoked_at]
    if not any(known):
        raise Unauthenticated(
            "Send a valid key as `Authorization: Bearer KEY` or `x-api-key: KEY`."
        )


def caller_of(headers: Headers) -> str:
    """Tells callers apart, without their keys: the same for each request with one key."""
    return hash_of(_presented(headers))[:16]


def _presented(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
