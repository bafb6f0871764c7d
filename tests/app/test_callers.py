"""Before the first key only this machine may call, and no proxy on it; and what `Worker` may be."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app.config import Settings
from app.db import api_keys
from app.db.database import Database
from app.http.caller import forwarded
from tests.fixtures.api import Api, Serve

FORWARDING = (
    *("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "x_forwarded_for"),
    *("X-Real-IP", "Via", "CF-Connecting-IP", "CF-Ray", "CDN-Loop", "True-Client-IP"),
    *("X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "Fly-Client-IP", "X-Remote-Addr"),
    *(
        "X-Original-Forwarded-For",
        "X-Original-Host",
        "X-Envoy-External-Address",
        "X-Azure-ClientIP",
    ),
    *("X-BlueCoat-Via", "X-Host", "X-HTTP-Host-Override", "X-Backend-Host", "X-Rewrite-URL"),
    *("Remote-User", "X-Remote-User", "X-Auth-Request-User", "X-Coming-From", "X-Trusted-IP"),
    *("X-Request-Start", "X-Real-Port", "X-Url-Scheme", "Front-End-Https", "Max-Forwards"),
    *("X-Cloud-Trace-Context", "X-Traefik-Router", "X-Haproxy-Server-State", "Kong-Request-Id"),
    *("X-Appengine-User-IP", "WL-Proxy-Client-IP", "X-ProxyUser-Ip", "X-Nf-Client-Connection-Ip"),
)
ORDINARY = (
    *("Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Content-Type", "Cookie"),
    *("Content-Length", "Authorization", "X-Api-Key", "X-Request-Id", "Traceparent", "Expect"),
    *("Idempotency-Key", "If-Match", "Last-Event-ID", "Origin", "Sec-Fetch-Site", "Referer"),
)


async def asked(api: Api, *headers: str, target: str = "/sessions", http: str = "1.1") -> Any:
    """The status and the body of an answer to a request of just these headers."""
    address = api.http.base_url
    reader, writer = await asyncio.open_connection(address.host, address.port)
    lines = (f"GET {target} HTTP/{http}", *headers, "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode("latin-1"))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_before_the_first_key_no_proxy_may_call(
    serve: Serve, service_settings: Settings
) -> None:
    api = await serve(service_settings)
    for host in ("127.0.0.1:8080", "localhost", "LOCALHOST:1", "localhost.", "[::1]:8080"):
        assert (await asked(api, f"Host: {host}"))[0] == 200, host
    for host in (
        "avatar.example.com",
        "192.0.2.7",
        "0.0.0.0",
        "127.0.0.1.evil.example",
        "[::2]",
        "",
    ):
        status, problem = await asked(api, f"Host: {host}")
        assert (status, problem["code"]) == (403, "forbidden"), host
        assert "voipavatar keys create" in problem["detail"]
    for name in FORWARDING:
        for value in ("203.0.113.9", "127.0.0.1", "203.0.113.9, 127.0.0.1", ""):
            assert (await asked(api, "Host: localhost", f"{name}: {value}"))[0] == 403, name
    # What nginx sends unless it is told otherwise.
    assert (await asked(api, "Host: 127.0.0.1:8080", http="1.0"))[0] == 403


def test_ordinary_headers_are_no_proxys() -> None:
    assert not forwarded(ORDINARY)
    for name in FORWARDING:
        assert forwarded([name]), name


async def test_with_a_key_a_proxy_may_call(api: Api, database: Database) -> None:
    key = f"X-Api-Key: {await api_keys.create_key(database, 'first')}"
    for name in FORWARDING:
        status, _ = await asked(api, "Host: avatar.example.com", f"{name}: 203.0.113.9", key)
        assert status == 200, name
    assert (await asked(api, "Host: 127.0.0.1", key, http="1.0"))[0] == 200


async def test_a_malformed_host_is_400(serve: Serve, service_settings: Settings) -> None:
    api = await serve(service_settings)
    malformed = ("[::1", "[zz]", "]", "[", "[]", "a b", "a/b", "a@b", "a:b", "a:1:2", "é", "[::1]x")
    for path in ("/sessions", "/health", "/nothing"):
        for host in malformed:
            status, problem = await asked(api, f"Host: {host}", target=path)
            assert (status, problem["code"]) == (400, "validation_error"), (path, host)
        assert (await asked(api, target=path))[0] == 400
        assert (await asked(api, "Host: a", "Host: b", target=path))[0] == 400


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_odd_targets_are_refused_in_order(api: Api) -> None:
    host = f"Host: localhost:{api.http.base_url.port}"
    for target in ("/sessions/%00", "//", "/%ff", "/sessions/..%2f", "/sessions?%00=1", "/?" * 50):
        status, _ = await asked(api, host, target=target)
        assert status in (404, 405, 422), target
