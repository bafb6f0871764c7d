"""What a caller's LiveKit answers before a session is made: bounded, not followed, not repeated."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest

from app.config import Settings
from app.db.api_keys import create_key
from app.db.database import Database
from app.outbound import dial
from app.rtc.sdk import validate
from bench.devstack import LiveKit
from tests.fixtures.api import Api, Serve
from tests.fixtures.refusals import BODY, refused
from tests.outbound.servers import reply, server, unsigned

SECRET = b'{"db_password":"inside-secret"}'


def at(url: str) -> dict[str, Any]:
    return BODY | {"livekit": {"url": url, "token": unsigned("r")}}


@pytest.mark.parametrize("status", [200, 400, 404, 500])
@pytest.mark.parametrize("packed", ["gzip", "gzip, gzip", "deflate", "br"])
async def test_a_packed_answer_is_not_unpacked(
    serve: Serve, service_settings: Settings, status: int, packed: str
) -> None:
    api = await serve(service_settings)
    bomb = gzip.compress(gzip.compress(bytes(1 << 26), 9), 9)
    before = psutil.Process().memory_info().rss
    with server(lambda to, _: reply(to, status, bomb, f"Content-Encoding: {packed}")) as there:
        answer = await api.http.post("/sessions", json=at(there.url))
    assert answer.status_code == {200: 201, 400: 422, 404: 502, 500: 502}[status]
    assert psutil.Process().memory_info().rss - before < 1 << 24


def endless(to: socket.socket, _: str) -> None:
    to.sendall(b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    with suppress(OSError):
        while True:
            to.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def endless_head(to: socket.socket, _: str) -> None:
    to.sendall(b"HTTP/1.1 200 X\r\n")
    with suppress(OSError):
        while True:
            to.sendall(b"X-More: " + b"x" * 4000 + b"\r\n")


def slow_body(to: socket.socket, _: str) -> None:
    to.sendall(b"HTTP/1.1 404 X\r\nContent-Length: 300\r\n\r\n")
    with suppress(OSError):
        while True:
            to.sendall(b"x")
            time.sleep(0.05)


@pytest.mark.parametrize("handler", [endless, endless_head, slow_body])
async def test_an_answer_without_end_is_not_read_on(clean: Api, handler: Any) -> None:
    with server(handler) as there:
        await refused(clean, at(there.url), 502, "livekit_unreachable")


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\r\n\r\n", b"HTTP/2 200\r\n"]
)
async def test_what_speaks_something_else(clean: Api, answer: bytes) -> None:
    with server(lambda to, _: to.sendall(answer)) as there:
        problem = await refused(clean, at(there.url), 502, "livekit_unreachable")
    assert "SSH" not in str(problem)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(clean: Api, status: int) -> None:
    with server(lambda to, _: reply(to, 403, SECRET)) as inside:
        location = f"Location: http://127.0.0.1:{inside.port}/admin/config?dump=1"
        with server(lambda to, _: reply(to, status, SECRET, location)) as there:
            problem = await refused(clean, at(there.url), 502, "livekit_unreachable")
    assert inside.asked == []
    assert f"({status})" in problem["detail"]
    assert "inside" not in str(problem)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 418, 429, 500, 503])
async def test_the_words_of_a_server_are_not_repeated(clean: Api, status: int) -> None:
    with server(lambda to, _: reply(to, status, SECRET, "X-Inside: inside-secret")) as there:
        for path in ("/sessions", "/v1/sessions"):
            launch = {"avatar_id": "default", "url": there.url, "token": unsigned("r")}
            body = at(there.url) if path == "/sessions" else launch
            answer = await clean.http.post(path, json=body)
            assert answer.status_code in (422, 502)
            assert "inside-secret" not in answer.text


LOCAL = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "localhost."),
    *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "[::]"),
    *("10.0.0.1", "192.168.0.1", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]"),
    *("100.100.100.200", "168.63.129.16", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]"),
]


async def with_key(serve: Serve, settings: Settings, **changes: Any) -> Api:
    api = await serve(settings.model_copy(update=changes))
    database = Database(api.settings.database)
    api.http.headers["x-api-key"] = await create_key(database, "caller")
    await database.aclose()
    return api


async def test_with_keys_no_address_of_ours_is_asked(
    serve: Serve, service_settings: Settings
) -> None:
    api = await with_key(serve, service_settings)
    with server(lambda to, _: reply(to, 200, b"success")) as there:
        for host in LOCAL:
            url = f"ws://{host}:{there.port}"
            for path in ("/sessions", "/v1/sessions"):
                launch = {"avatar_id": "default", "url": url, "token": agents()}
                body = at(url) if path == "/sessions" else launch
                answer = await api.http.post(path, json=body)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), host
                assert "VOIPAVATAR_LIVEKIT_HOSTS" in answer.json()["detail"]
    assert there.asked == []


def agents() -> str:
    """For /v1, whose tokens name an agent; nobody checks this one."""
    payload = {
        "sub": "theirs",
        "iss": "x",
        "video": {"room": "r", "roomJoin": True},
        "attributes": {"lk.publish_on_behalf": "agent"},
    }
    middle = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{middle}.{'A' * 43}"


async def test_a_name_is_judged_by_what_it_resolves_to_and_that_is_asked(
    serve: Serve, service_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is public at first and not a moment later (DNS rebinding) gains nothing."""
    api = await with_key(serve, service_settings)
    with server(lambda to, _: reply(to, 200, b"success")) as there:
        answers = [["93.184.215.14"], ["127.0.0.1"]]
        asked: list[str] = []

        async def resolve(host: str) -> list[dial.Address]:
            asked.append(host)
            return [(socket.AF_INET, each) for each in answers[min(len(asked), 2) - 1]]

        reached: list[str] = []

        async def connected(addresses: Any, port: int) -> socket.socket:
            reached.extend(address for _, address in addresses)
            raise dial.CannotConnect("connection refused")

        monkeypatch.setattr(dial, "resolve", resolve)
        monkeypatch.setattr(dial, "_connected", connected)
        answer = await api.http.post("/sessions", json=at(f"ws://rebinds.example:{there.port}"))
        assert answer.json()["code"] == "livekit_unreachable"
        assert (asked, reached) == (["rebinds.example"], ["93.184.215.14"])
        answer = await api.http.post("/sessions", json=at(f"ws://rebinds.example:{there.port}"))
        assert answer.json()["code"] == "forbidden"
        assert reached == ["93.184.215.14"]
        answers[1] = ["93.184.215.14", "10.0.0.1"]
        answer = await api.http.post("/sessions", json=at("ws://both.example"))
        assert answer.json()["code"] == "forbidden"
    assert there.asked == []


@pytest.mark.parametrize("hosts", [(), ("*.livekit.cloud",)])
async def test_our_own_livekit_is_always_allowed(
    serve: Serve, service_settings: Settings, livekit_server: LiveKit, hosts: tuple[str, ...]
) -> None:
    api = await with_key(serve, service_settings, livekit_hosts=hosts)
    assert (await api.create("ours"))["state"] == "ready"
    url = livekit_server.url.replace("127.0.0.1", "127.1")
    answer = await api.http.post("/sessions", json=at(url))
    assert answer.json()["code"] == "livekit_token_rejected"  # by LiveKit itself


@pytest.mark.parametrize("keyed", [True, False])
async def test_the_list_names_all_that_callers_may_use(
    serve: Serve, service_settings: Settings, keyed: bool
) -> None:
    with server(lambda to, _: reply(to, 200, b"success")) as there:
        named = (f"127.0.0.1:{there.port}", "*.livekit.cloud")
        changed = service_settings.model_copy(update={"livekit_hosts": named})
        api = await (with_key(serve, changed) if keyed else serve(changed))
        assert (await api.http.post("/sessions", json=at(there.url))).status_code == 201
        for url in (f"ws://127.0.0.2:{there.port}", "ws://127.0.0.1:1", "wss://lk.example.com"):
            answer = await api.http.post("/sessions", json=at(url))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_the_event_loop_turns_while_a_server_is_slow(
    clean: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "PATIENCE_S", 1.0)
    with server(endless_head) as there, server(lambda to, _: time.sleep(2)) as silent:
        asked = [clean.http.post("/sessions", json=at(each.url)) for each in (there, silent)]
        posts = asyncio.gather(*asked)
        while not posts.done():
            assert (await clean.http.get("/health")).status_code == 200
        assert [answer.status_code for answer in posts.result()] == [502, 502]


def test_the_list_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOIPAVATAR_LIVEKIT_HOSTS", "*.livekit.cloud, 10.0.0.7:7880 ,")
    assert Settings(_env_file=None).livekit_hosts == ("*.livekit.cloud", "10.0.0.7:7880")
