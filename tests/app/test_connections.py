"""Connections: how many there may be, who makes room, and how long a peer may take."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from app.config import Settings
from app.http.connections import Patience
from app.http.descriptors import connections_within
from app.http.protocol import MAX_HEAD
from tests.e2e.waiting import until
from tests.fixtures.api import Api, QuietRuntime, Serve

pytestmark = pytest.mark.slow

HEAD = b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG = Patience(60, 60, 60, 1, 60, 60)


class Peer:
    """A connection that a test writes to and reads from byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> Peer:
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def rest(self) -> bytes:
        """What comes until the service closes."""
        try:
            async with asyncio.timeout(30):
                return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def asked(self) -> bytes:
        """The status line of one more answer on this connection, read to its end."""
        await self.send(HEALTH)
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(len(b'{"status":"ok"}'))
        return head.split(b"\r\n")[0]


@asynccontextmanager
async def peers(api: Api, many: int) -> AsyncIterator[list[Peer]]:
    address = api.http.base_url
    made = [Peer(*await asyncio.open_connection(address.host, address.port)) for _ in range(many)]
    try:
        yield made
    finally:
        for peer in made:
            peer.writer.close()


async def started(serve: Serve, settings: Settings, **patience: Any) -> Api:
    api = await serve(settings)
    api.server.connections.patience = Patience(**patience) if patience else LONG
    return api


async def test_a_head_that_does_not_come_is_given_up(
    serve: Serve, service_settings: Settings
) -> None:
    api = await started(serve, service_settings, head_s=0.2)
    async with peers(api, 3) as (silent, half, after):
        await half.send(HEAD)
        assert await after.asked() == b"HTTP/1.1 200 OK"
        await after.send(HEAD)
        for peer in (silent, half, after):
            assert await peer.rest() == b""


async def test_a_body_that_trickles_is_given_up(serve: Serve, service_settings: Settings) -> None:
    api = await started(serve, service_settings, body_s=0.5, rate=1000)
    async with peers(api, 2) as (declared, chunked):
        await declared.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        await chunked.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        answers = asyncio.gather(declared.rest(), chunked.rest())
        while not answers.done():
            with suppress(OSError):
                await declared.send(b" ")
                await chunked.send(b"1\r\n \r\n")
            await asyncio.sleep(0.1)
        for answer in await answers:
            assert answer.startswith(b"HTTP/1.1 408 ")
    assert 'status="499"' in (await api.http.get("/metrics")).text


async def test_a_steady_body_and_a_long_answer_have_their_time(
    serve: Serve, service_settings: Settings
) -> None:
    stage = QuietRuntime(ready_at_once=False)
    api = await serve(service_settings, stage)
    api.server.connections.patience = Patience(0.1, 0.1, 0.5, 50, 0.1, 0.1)
    body = b'{"room": "r", "persona": "default"}' + b" " * 200
    head = HEAD.replace(b"/sessions", b"/sessions?wait=ready&timeout=2")
    async with peers(api, 1) as (slow,):
        await slow.send(head + b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 20):
            await slow.send(body[at : at + 20])
            await asyncio.sleep(0.1)
        assert (await slow.reader.readline()) == b"HTTP/1.1 201 Created\r\n"


async def test_idle_connections_are_kept_and_closed_in_time(
    serve: Serve, service_settings: Settings
) -> None:
    api = await started(serve, service_settings, keep_alive_s=0.5, head_s=60)
    async with peers(api, 1) as (kept,):
        for _ in range(3):
            assert await kept.asked() == b"HTTP/1.1 200 OK"
        assert await kept.rest() == b""


async def test_an_answer_that_nobody_reads_is_given_up(
    serve: Serve, service_settings: Settings
) -> None:
    api = await started(serve, service_settings, unread_s=0.5, keep_alive_s=60)
    address = api.http.base_url
    with socket.create_connection((address.host, address.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        page = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

        async def closed() -> bool:
            try:
                deaf.send(page * 8)
            except BlockingIOError:
                return False
            except OSError:
                return True
            return False

        await until(closed)


async def test_over_the_limit_idle_ones_make_room_first(
    serve: Serve, service_settings: Settings
) -> None:
    api = await started(serve, service_settings)
    api.server.connections.most = 8
    async with peers(api, 4) as halves, peers(api, 4) as idle:
        for peer in halves:
            await peer.send(HEAD)
        for peer in idle:
            assert await peer.asked() == b"HTTP/1.1 200 OK"
        async with peers(api, 3) as more:
            for peer in more:
                assert await peer.asked() == b"HTTP/1.1 200 OK"
            assert [await peer.rest() for peer in idle[:3]] == [b""] * 3
            assert await idle[3].asked() == b"HTTP/1.1 200 OK"
            for peer in halves:
                await peer.send(b"X-Slow: 1\r\n")


async def test_three_hundred_half_open_ones_keep_nobody_out(
    serve: Serve, service_settings: Settings
) -> None:
    api = await started(serve, service_settings)
    api.server.connections.most = 32
    async with peers(api, 300) as held:
        for peer in held[::2]:
            peer.writer.write(HEAD)
        for _ in range(5):
            assert (await api.http.get("/health")).status_code == 200
        assert len(api.server.server_state.connections) <= 32
    assert (await api.http.get("/ready")).status_code == 200


async def test_only_where_all_are_being_answered_is_one_refused(
    serve: Serve, service_settings: Settings
) -> None:
    api = await serve(service_settings, QuietRuntime(ready_at_once=False))
    api.server.connections.most = 2
    waiting = HEAD.replace(b"/sessions", b"/sessions?wait=ready&timeout=20")
    body = b'{"room": "r%d", "persona": "default"}'
    async with peers(api, 2) as busy:
        for number, peer in enumerate(busy):
            await peer.send(waiting + b"Content-Length: %d\r\n\r\n" % len(body % number))
            await peer.send(body % number)
        await until(lambda: _begun(api, 2))
        async with peers(api, 1) as (refused,):
            answer = await refused.rest()
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"resources_exhausted" in answer
        assert b"retry-after: 1" in answer.lower()
        for runner in api.stage.runners:
            runner.may_be_ready.set()
        for peer in busy:
            assert await peer.reader.readline() == b"HTTP/1.1 201 Created\r\n"
        async with peers(api, 1) as (again,):
            assert await again.asked() == b"HTTP/1.1 200 OK"


async def _begun(api: Api, many: int) -> bool:
    return len(api.stage.runners) == many


async def test_heads_and_trailers_are_bounded(serve: Serve, service_settings: Settings) -> None:
    api = await started(serve, service_settings)
    async with peers(api, 3) as (head, value, trailer):
        await head.send(HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(MAX_HEAD // 6)))
        await value.send(HEAD + b"X: " + b"x" * MAX_HEAD)
        await trailer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        await asyncio.sleep(0.1)
        await trailer.send(b"x" * MAX_HEAD * 2)
        for peer in (head, value, trailer):
            assert (await peer.rest()).startswith(b"HTTP/1.1 431 ")


async def test_what_is_not_http_is_told_as_a_problem(
    serve: Serve, service_settings: Settings
) -> None:
    api = await started(serve, service_settings)
    junk = (
        *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 100),
        *(
            b"GET / HTTP/9.9\r\n\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
        b"GET /health HTTP/1.1\r\nHost: a\r\nX\0: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n",
        b"POST /sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    )
    async with peers(api, len(junk)) as made:
        for peer, data in zip(made, junk, strict=True):
            await peer.send(data)
            answer = await peer.rest()
            assert answer.startswith(b"HTTP/1.1 400 "), data
            assert b"application/problem+json" in answer, data
    for target in (b"*", b"http://[", b"http://a:99999999/", b"//"):
        async with peers(api, 1) as (peer,):
            await peer.send(b"OPTIONS %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
            assert (await peer.rest()).split()[1] in (b"400", b"404", b"405", b"403"), target


async def test_an_upgrade_is_ignored(serve: Serve, service_settings: Settings) -> None:
    api = await started(serve, service_settings)
    for protocol in ("websocket", "h2c"):
        headers = {"connection": "Upgrade", "upgrade": protocol, "sec-websocket-version": "13"}
        assert (await api.http.get("/health", headers=headers)).status_code == 200


def test_connections_get_a_quarter_of_the_descriptors() -> None:
    assert [connections_within(n) for n in (64, 256, 1024, 65_536)] == [32, 64, 256, 1024]


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (200, 400));"
        "from app.http.descriptors import *; raise_descriptor_limit(); print(descriptors())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "400\n"
