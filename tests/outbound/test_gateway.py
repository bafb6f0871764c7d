"""LiveKit's library, through the only door that it gets."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from urllib.parse import urlsplit

import pytest
from livekit import rtc

from app.config import Settings
from app.outbound import dial
from app.outbound.gateway import Gateway, open_gateway
from app.outbound.relay import Allowance
from app.rtc.sdk.refusal import refusal
from app.rtc.sdk.tokens import viewer_token
from bench.devstack import LiveKit
from tests.e2e.waiting import until
from tests.fixtures.api import Api
from tests.fixtures.refusals import BODY, refused
from tests.outbound.servers import reply, server, unsigned


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with open_gateway("") as opened:
        yield opened


async def join(url: str, token: str) -> rtc.Room:
    room = rtc.Room()
    await room.connect(url, token, rtc.RoomOptions(connect_timeout=3.0))
    return room


async def joined_elsewhere(url: str, *admitted: str) -> str:
    """What the library says in a process that has asked nobody else before.

    `admitted`: another server than the one that is asked, in its place.
    """
    command = [sys.executable, "-m", "tests.outbound.joining", url, unsigned("r"), *admitted]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()


def person(settings: Settings, room: str) -> str:
    return viewer_token(settings, room, "ann", None, can_publish=False)[0]


async def test_the_library_joins_through_it_and_comes_back(
    gateway: Gateway, service_settings: Settings, livekit_server: LiveKit
) -> None:
    token = person(service_settings, "door")
    with gateway.admit(livekit_server.url, public_only=False):
        room = await join(livekit_server.url, token)
        place = ("127.0.0.1", urlsplit(livekit_server.url).port)
        assert place in gateway._open.values()
        back = asyncio.Event()
        room.on("reconnected", lambda: back.set())
        await room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
        await asyncio.wait_for(back.wait(), 30)
        await room.disconnect()
    await until(lambda: place not in gateway._open.values())


async def test_a_connection_ends_with_its_admission(
    gateway: Gateway, service_settings: Settings, livekit_server: LiveKit
) -> None:
    with gateway.admit(livekit_server.url, public_only=False):
        room = await join(livekit_server.url, person(service_settings, "over"))
    await until(lambda: not gateway._open)
    await room.disconnect()


async def test_what_nobody_was_admitted_to_is_not_reached() -> None:
    with server(lambda to, _: reply(to, 200, b"success")) as there:
        said = await joined_elsewhere(there.url, "ws://127.0.0.1:9")
    assert there.asked == []
    assert str(refusal(said.splitlines()[-1])) in (
        "no connection to it was opened",
        "it answered 403",
    )


@pytest.mark.parametrize("status", [301, 302, 307])
@pytest.mark.parametrize("after", ["/rtc/v1", "/rtc/v1/validate"])
async def test_the_library_is_led_nowhere_else(status: int, after: str) -> None:
    """By no redirect, of whatever it asks; also where no key exists yet."""
    with server(lambda to, _: reply(to, 403, b"inside-secret")) as inside:
        elsewhere = f"Location: http://127.0.0.1:{inside.port}/rtc/v1/validate?dump=1"

        def leads_on(to: socket.socket, line: str) -> None:
            path = line.split()[1].split("?")[0]
            if path == after:
                reply(to, status, b"", elsewhere)
            elif path.endswith("validate"):
                reply(to, 500, b"inside-secret")
            # Else there is no answer, and the library asks what is wrong.

        with server(leads_on) as there:
            said = await joined_elsewhere(there.url)
    assert inside.asked == []
    assert f"GET {after}" in there.asked
    assert "signal failure" in said
    assert "inside-secret" not in said


async def test_what_a_server_answers_does_not_reach_the_library() -> None:
    def floods(to: socket.socket, line: str) -> None:
        if "validate" in line:
            reply(to, 500, b"LOGFILL " * 100_000)

    with server(floods) as there:
        said = await joined_elsewhere(there.url)
    assert "GET /rtc/v1/validate" in there.asked
    assert "500" in said
    assert "LOGFILL" not in said


async def test_each_attempt_is_checked_anew(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads inside when a session joins again is not followed there."""

    async def inside(host: str) -> list[dial.Address]:
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr(dial, "resolve", inside)
    with server(lambda to, _: reply(to, 200, b"success")) as there:
        url = f"ws://rebinds.example:{there.port}"
        with gateway.admit(url, public_only=True) as admission:
            with pytest.raises(rtc.ConnectError):
                await join(url, unsigned("r"))
            assert admission.trouble == "its address is not public"
        assert there.asked == []
        with gateway.admit(url, public_only=False), pytest.raises(rtc.ConnectError):
            await join(url, unsigned("r"))
        assert there.asked


async def raw(port: int, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        writer.write(request.encode())
        return await reader.read()


async def test_it_is_nobody_elses_proxy(gateway: Gateway) -> None:
    address = urlsplit(os.environ["HTTP_PROXY"])
    good = "Basic " + b64encode(f"{address.username}:{address.password}".encode()).decode()
    with server(lambda to, _: reply(to, 200, b"success")) as there:
        with gateway.admit(there.url, public_only=False):
            assert address.port is not None
            at = f"127.0.0.1:{there.port}"
            for authorization in ("", "Proxy-Authorization: Basic bGl2ZWtpdDp4\r\n"):
                for line in (f"CONNECT {at}", f"GET http://{at}/rtc/validate"):
                    told = await raw(address.port, f"{line} HTTP/1.1\r\n{authorization}\r\n")
                    assert told.startswith(b"HTTP/1.1 407 ")
            for line, status in (
                (f"GET http://{at}/admin", 403),
                (f"GET https://{at}/rtc/validate", 403),
                (f"POST http://{at}/rtc/validate", 405),
                ("GET", 400),
                ("CONNECT 127.0.0.1:x", 400),
                ("CONNECT 169.254.169.254:80", 403),
                ("X" * 70_000, 431),
            ):
                request = f"{line} HTTP/1.1\r\nProxy-Authorization: {good}\r\n\r\n"
                with suppress(ConnectionResetError):  # what it did not read is thrown away
                    told = await raw(address.port, request)
                    assert told.startswith(f"HTTP/1.1 {status} ".encode()), line
        assert there.asked == []


async def test_other_libraries_find_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://theirs:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    before = dict(os.environ)
    async with open_gateway(""):
        assert urlsplit(os.environ["HTTPS_PROXY"]).hostname == "127.0.0.1"
        found = urllib.request.getproxies_environment()
        assert found == {"https": "http://theirs:3128", "no": "inside.example"}
    assert dict(os.environ) == before


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A proxy that lets everything through, to this machine."""
    head = await reader.readuntil(b"\r\n\r\n")
    port = int(head.split()[1].rsplit(b":", 1)[1])
    there, to = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with closing(sink), suppress(OSError):
            while block := await source.read(65536):
                sink.write(block)

    await asyncio.gather(copy(reader, to), copy(there, writer))


@pytest.mark.usefixtures("livekit_server")  # joins, or asks who is there
async def test_question_and_join_go_by_the_same_proxy(
    clean: Api, service_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = urlsplit(service_settings.livekit_url).port
    url = f"ws://livekit.inside.example:{port}"
    token = person(service_settings, "proxied")
    async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as proxy:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("NO_PROXY", "elsewhere.example")
        await clean.http.get("/health")
        async with open_gateway("") as gateway:
            with gateway.admit(url, public_only=False):
                room = await join(url, token)
                await room.disconnect()
            named = BODY | {"room": "proxied", "livekit": {"url": url, "token": token}}
            other = person(service_settings, "other")
            named["livekit"] = {"url": url, "token": other}
            await refused(clean, named, 422, "livekit_token_rejected")


async def test_a_server_sends_no_more_than_a_room_needs() -> None:
    allowance = Allowance(burst=1000, rate=100)
    assert allowance.take(1000) == 0
    assert 0 < allowance.take(100) <= 1
    assert 9 < allowance.take(1000) <= 11
