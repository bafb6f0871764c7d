"""Whose identity a viewer token may carry: on both databases, in rooms of a real LiveKit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from app.config import Settings
from app.errors import LiveKitUnreachable
from app.rtc.sdk.presence import is_in_room
from app.rtc.sdk.tokens import read_claims
from bench.clients.participant import LiveKitAccess, join
from tests.fixtures.api import Api


async def ask(api: Api, session: dict[str, Any], identity: str) -> tuple[int, str]:
    url = f"/sessions/{session['id']}/viewer-token"
    answer = await api.http.post(url, json={"identity": identity})
    return answer.status_code, answer.json().get("code", "")


async def test_no_token_takes_somebodys_place(api: Api) -> None:
    session = await api.create("places", audio={"source": "data_stream", "agent": "agent"})
    other = await api.create(
        "places", identity="avatar-2", audio={"source": "data_stream", "agent": "agent-2"}
    )
    elsewhere = await api.create(
        "elsewhere", identity="avatar-3", audio={"source": "data_stream", "agent": "agent-3"}
    )
    for identity in ("avatar", "agent", "avatar-2", "agent-2"):
        assert await ask(api, session, identity) == (422, "validation_error"), identity
        assert await ask(api, other, identity) == (422, "validation_error"), identity
    for identity in ("avatar-3", "agent-3", "ann"):
        assert await ask(api, session, identity) == (200, ""), identity
    assert await ask(api, elsewhere, "avatar") == (200, "")


@pytest.mark.usefixtures("livekit_server")  # joins, or asks who is there
async def test_no_token_is_for_somebody_who_is_in_the_room(api: Api) -> None:
    access = LiveKitAccess(
        api.settings.livekit_url,
        api.settings.livekit_api_key,
        api.settings.livekit_api_secret.get_secret_value(),
    )
    session = await api.create("taken places")
    room, name = rtc.Room(), "Ann \N{SNOWMAN} / ?"
    assert await ask(api, session, name) == (200, "")
    await join(room, access, "taken places", name)
    try:
        assert await ask(api, session, name) == (422, "validation_error")
        assert await ask(api, session, name + " ") == (200, "")
    finally:
        await room.disconnect()
    async with asyncio.timeout(30):
        while await ask(api, session, name) != (200, ""):  # noqa: ASYNC110  # LiveKit's to forget
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("asked", [False, True])
async def test_data_is_for_those_who_ask(api: Api, asked: bool) -> None:
    session = await api.create()
    url = f"/sessions/{session['id']}/viewer-token"
    for body in ({}, {"can_publish": True}, {"can_publish": False}):
        more = {"can_publish_data": True} if asked else {}
        made = (await api.http.post(url, json=body | more)).json()
        claims = read_claims(made["token"])
        assert claims.may_send_data is asked
        assert claims.may_publish is body.get("can_publish", True)


@pytest.mark.parametrize(
    "answer", [b"404 Not Found\r\n\r\n", b"200 OK", b"500 X\r\n\r\n", b"404 X\r\n\r\n[]"]
)
async def test_a_name_that_livekit_cannot_be_asked_about(
    service_settings: Settings, answer: bytes
) -> None:
    """As where a proxy lets nothing but joins through."""

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(LiveKitUnreachable, match="leave `identity` out"):
            await is_in_room(service_settings, url, "r", "ann")
    with pytest.raises(LiveKitUnreachable, match="leave `identity` out"):
        await is_in_room(service_settings, url, "r", "ann")
