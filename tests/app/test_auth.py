"""API keys: made by the command line, honoured at once, asked for where they must be."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select
from starlette.datastructures import Headers
from typer.testing import CliRunner

from app.cli import app as command
from app.db import api_keys
from app.db.database import Database
from app.db.tables import ApiKeyRow
from app.errors import Forbidden, Unauthenticated
from app.http import auth
from tests.fixtures.api import Api

FREE = ("/health", "/ready", "/metrics", "/docs", "/openapi.json")


async def test_without_any_key_loopback_may_call(api: Api) -> None:
    assert (await api.http.get("/sessions")).status_code == 200
    answer = await api.http.get("/sessions", headers={"x-api-key": "whatever"})
    assert answer.status_code == 200


async def test_a_running_service_honours_keys_at_once(api: Api, database: Database) -> None:
    key = await api_keys.create_key(database, "first")
    refused = await api.http.get("/sessions")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert (await api.http.get("/sessions", headers=headers)).status_code == 200
    for headers in (
        {"authorization": f"Bearer {key}x"},
        {"authorization": f"Basic {key}"},
        {"authorization": key},
        {"x-api-key": ""},
    ):
        assert (await api.http.get("/sessions", headers=headers)).status_code == 401
    for path in FREE:
        assert (await api.http.get(path)).status_code == 200, path
    assert (await api.http.get("/personas")).status_code == 401
    assert await api_keys.revoke_key(database, "first")
    headers = {"x-api-key": key}
    assert (await api.http.get("/sessions", headers=headers)).status_code == 401


async def test_the_key_comes_before_the_body(api: Api, database: Database) -> None:
    await api_keys.create_key(database, "first")
    for content in (b"{", b"x" * 2_000_000):
        answer = await api.http.post("/sessions", content=content)
        assert answer.status_code == 401


async def test_only_a_hash_is_kept(database: Database) -> None:
    key = await api_keys.create_key(database, "first")
    with pytest.raises(api_keys.NameTaken):
        await api_keys.create_key(database, "first")
    async with database.read() as session:
        [row] = (await session.scalars(select(ApiKeyRow))).all()
    assert key not in repr(vars(row))
    assert await api_keys.revoke_key(database, "first")
    assert not await api_keys.revoke_key(database, "first")
    assert await api_keys.create_key(database, "first") != key


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_who_may_call_without_a_key(database: Database) -> None:
    named = Headers({"host": "localhost"})
    for local in ("127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1", None):
        await auth.authorise(database, named, local, insecure=False)
    for remote in ("192.0.2.7", "::ffff:192.0.2.7", "testclient"):
        with pytest.raises(Forbidden, match="voipavatar keys create"):
            await auth.authorise(database, Headers(), remote, insecure=False)
        await auth.authorise(database, Headers(), remote, insecure=True)
    for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
        await auth.authorise(database, Headers({"host": host}), "127.0.0.1", insecure=False)
    for host in (
        "evil.example",
        "127.0.0.1.evil.example:8080",
        "a:b:c",
        "abc",
        "192.0.2.7",
        "[::1",
    ):
        with pytest.raises(Forbidden):
            await auth.authorise(database, Headers({"host": host}), "127.0.0.1", insecure=False)
    await api_keys.create_key(database, "first")
    for insecure in (True, False):
        with pytest.raises(Unauthenticated):
            await auth.authorise(database, Headers(), "127.0.0.1", insecure=insecure)
    # To revoke the last key must not open the door.
    await api_keys.revoke_key(database, "first")
    with pytest.raises(Unauthenticated):
        await auth.authorise(database, Headers(), "127.0.0.1", insecure=False)


def test_the_command_prints_the_key_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOIPAVATAR_DATABASE_URL", database_url)
    made = CliRunner().invoke(command, ["keys", "create", "ci"])
    assert made.exit_code == 0
    key = made.stdout.strip()
    assert made.stdout == f"{key}\n"
    assert asyncio.run(_is_known(database_url, key))
    again = CliRunner().invoke(command, ["keys", "create", "ci"])
    assert again.exit_code == 1
    assert again.stdout == ""
    assert "keys revoke" in again.stderr
    listed = CliRunner().invoke(command, ["keys", "list"])
    assert "ci" in listed.stdout
    assert key not in listed.stdout
    assert CliRunner().invoke(command, ["keys", "revoke", "ci"]).exit_code == 0
    assert not asyncio.run(_is_known(database_url, key))
    assert CliRunner().invoke(command, ["keys", "revoke", "ci"]).exit_code == 1


async def _is_known(url: str, key: str) -> bool:
    database = Database(url)
    try:
        await auth.authorise(database, Headers({"x-api-key": key}), "192.0.2.7", insecure=False)
    except Unauthenticated:
        return False
    finally:
        await database.aclose()
    return True
