"""Starting and stopping the service: addresses, keys, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app.cli import app as command
from app.config import Settings
from app.db import api_keys
from app.db.database import Database
from app.db.migrate import migrate
from app.http import server
from app.http.server import CannotServe, listen
from app.main import create_app
from bench.devstack import free_port
from tests.app import quiet_service
from tests.fixtures.api import QuietRuntime, Serve

pytestmark = pytest.mark.slow

BODY = {"room": "r", "persona": "default"}


async def rows(settings: Settings, serve: Serve) -> list[dict[str, Any]]:
    """What another service finds in the same database."""
    api = await serve(settings)
    items: list[dict[str, Any]] = (await api.http.get("/sessions")).json()["items"]
    return items


def quiet_app() -> Callable[[Settings], FastAPI]:
    return partial(create_app, runtime_factory=QuietRuntime().open)


async def test_requests_are_answered_while_sessions_leave_and_a_second_signal_quits(
    service_settings: Settings, serve: Serve
) -> None:
    settings = service_settings.model_copy(update={"drain_s": 60.0})  # longer than all that follows
    child = await asyncio.to_thread(quiet_service.start, settings, "stuck")
    try:
        async with httpx.AsyncClient(base_url=child.url, timeout=20, verify=False) as http:
            assert (await http.post("/sessions?wait=ready", json=BODY)).status_code == 201
            child.process.send_signal(signal.SIGINT)
            async with asyncio.timeout(30):
                while (await http.get("/ready")).status_code == 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            refused = await http.post("/sessions", json=BODY | {"room": "other"})
            assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        child.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(child.process.wait, 20) == -signal.SIGTERM
    finally:
        child.process.kill()
        child.process.communicate()
    [row] = await rows(service_settings, serve)
    assert (row["state"], row["end_reason"]) == ("failed", "lost")


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(command, ["serve", "--port", str(port)])
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(port) in result.stderr
    assert "--port" in result.stderr


async def test_others_are_not_served_without_a_key(service_settings: Settings) -> None:
    settings = service_settings.model_copy(update={"host": "0.0.0.0", "port": 0})
    with listen(settings) as listening, pytest.raises(CannotServe, match="keys create NAME"):
        await server.serve(settings, listening, quiet_app())


async def test_a_signal_lets_sessions_leave(service_settings: Settings, serve: Serve) -> None:
    settings = service_settings.model_copy(update={"port": 0})
    async with served(settings) as http:
        answer = await http.post("/sessions?wait=ready", json=BODY)
        assert answer.status_code == 201
    [row] = await rows(settings, serve)
    assert (row["state"], row["end_reason"]) == ("ended", "shutdown")


@pytest.mark.parametrize("remedy", ["key", "insecure"])
async def test_others_are_served_with_a_key_or_on_demand(
    service_settings: Settings, remedy: str
) -> None:
    settings = service_settings.model_copy(update={"host": "0.0.0.0", "port": 0})
    if remedy == "key":
        await make_key(settings)
    else:
        settings = settings.model_copy(update={"insecure": True})
    async with served(settings) as http:
        assert (await http.get("/ready")).status_code == 200


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service as the command runs it, until SIGTERM."""
    with listen(settings) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        task = asyncio.create_task(server.serve(settings, listening, quiet_app()))
        async with httpx.AsyncClient(base_url=base, timeout=20, verify=False) as http:
            assert (await http.get("/health")).status_code == 200
            yield http
        signal.raise_signal(signal.SIGTERM)
        await task


async def test_small_answers_are_sent_at_once(service_settings: Settings) -> None:
    async with served(service_settings.model_copy(update={"port": 0})) as http:
        port = http.base_url.port
        ours = [each for each in psutil.Process().net_connections("tcp4") if each.fd > 0]
        [accepted] = [each.fd for each in ours if each.laddr.port == port and each.raddr]
        with socket.socket(fileno=os.dup(accepted)) as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def make_key(settings: Settings) -> None:
    database = Database(settings.database)
    await migrate(database)
    await api_keys.create_key(database, "first")
    await database.aclose()


async def test_a_wrong_address_of_livekit_is_told(service_settings: Settings) -> None:
    settings = service_settings.model_copy(update={"livekit_url": "tcp://127.0.0.1", "port": 0})
    with listen(settings) as listening, pytest.raises(CannotServe, match="LIVEKIT_URL must be"):
        await server.serve(settings, listening, quiet_app())


def test_a_wrong_setting_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOIPAVATAR_JOINS_AT_ONCE", "many")
    result = CliRunner().invoke(command, ["serve"])
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "VOIPAVATAR_JOINS_AT_ONCE" in result.stderr


@pytest.mark.parametrize("arguments", [["serve", "--port", "0"], ["keys", "list"]])
def test_a_database_that_cannot_be_opened_is_one_sentence(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for url in (
        "nonsense",
        "mysql://a:pw@127.0.0.1/b",
        f"sqlite:///{tmp_path}/file/no.db",
        f"postgresql://a:pw@127.0.0.1:{free_port()}/b",
    ):
        monkeypatch.setenv("VOIPAVATAR_DATABASE_URL", url)
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 1
        last = result.stderr.strip().splitlines()[-1]
        assert "VOIPAVATAR_DATABASE_URL" in last
        assert "pw@" not in result.stderr
