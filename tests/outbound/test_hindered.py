"""What stands between us and a LiveKit is named: a proxy, a certificate."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc

from app.outbound import fetch
from app.outbound.gateway import open_gateway
from tests.fixtures.api import Api
from tests.fixtures.refusals import BODY, refused
from tests.outbound.servers import reply, server, unsigned

CERTIFICATES = Path(__file__).parent / "certificates"


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_proxy_that_refuses_is_named(
    clean: Api, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(lambda to, _: reply(to, status, b"inside-secret")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://ann:pass-word@127.0.0.1:{proxy.port}")
        there = {"url": "ws://lk.example:7880", "token": unsigned("r")}
        problem = await refused(clean, BODY | {"livekit": there}, 502, "livekit_unreachable")
        assert f"127.0.0.1:{proxy.port} (named by HTTP_PROXY)" in problem["detail"]
        assert str(status) in problem["detail"]
        assert "NO_PROXY" in problem["detail"]
        assert "pass-word" not in problem["detail"]
        assert "inside-secret" not in problem["detail"]
        async with open_gateway("") as gateway:
            with gateway.admit(there["url"], public_only=False) as admission:
                with pytest.raises(rtc.ConnectError):
                    await rtc.Room().connect(there["url"], unsigned("r"))
                assert str(proxy.port) in admission.trouble


async def test_a_proxy_that_is_not_there_is_named(
    clean: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    there = {"url": "ws://lk.example:7880", "token": unsigned("r")}
    problem = await refused(clean, BODY | {"livekit": there}, 502, "livekit_unreachable")
    assert "127.0.0.1:9 (named by ALL_PROXY) cannot be reached" in problem["detail"]


async def secured(answer: bytes) -> asyncio.Server:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "localhost.pem")
    return await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)


async def test_a_certificate_that_is_not_trusted_is_named_with_the_cure(
    clean: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.trusted.cache_clear()
    async with await secured(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n") as there:
        port = there.sockets[0].getsockname()[1]

        def at(host: str) -> dict[str, Any]:
            return BODY | {"livekit": {"url": f"wss://{host}:{port}", "token": unsigned("r")}}

        problem = await refused(clean, at("localhost"), 502, "livekit_unreachable")
        assert "certificate" in problem["detail"]
        assert "SSL_CERT_FILE" in problem["detail"]
        fetch.trusted.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
        await refused(clean, at("localhost"), 422, "livekit_token_rejected")
        problem = await refused(clean, at("127.0.0.1"), 502, "livekit_unreachable")
        assert "another name" in problem["detail"]
        plain = {"url": f"ws://localhost:{port}", "token": unsigned("r")}
        await refused(clean, BODY | {"livekit": plain}, 502, "livekit_unreachable")
    fetch.trusted.cache_clear()

    async def plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            writer.write(b"HTTP/1.1 400 X\r\n\r\n")

    async with await asyncio.start_server(plainly, "127.0.0.1", 0) as without:
        url = f"wss://localhost:{without.sockets[0].getsockname()[1]}"
        body = BODY | {"livekit": {"url": url, "token": unsigned("r")}}
        problem = await refused(clean, body, 502, "livekit_unreachable")
        assert "does not speak TLS" in problem["detail"]
