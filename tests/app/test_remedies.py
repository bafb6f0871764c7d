"""A refusal says what mends it, in words that whoever asked can know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.rtc.sdk.names import PUBLISH_ON_BEHALF
from bench.devstack import LiveKit
from tests.app.test_agents_api import launch
from tests.app.test_foreign_tokens import agents_token, claims, foreign, signed
from tests.fixtures.api import Api
from tests.fixtures.refusals import refused

PATHS = ("/sessions", "/v1/sessions")
both_ways = pytest.mark.parametrize("path", PATHS)


async def asked(
    api: Api, path: str, livekit: LiveKit, token: str, url: str = ""
) -> tuple[int, dict[str, Any]]:
    """Status and problem of a request with that token."""
    body = foreign(livekit, token, url)
    if path == "/v1/sessions":
        body = {"avatar_id": "default", **body["livekit"]}
    answer = await api.http.post(path, json=body)
    return answer.status_code, answer.json()


@both_ways
async def test_each_fault_of_a_token_is_named(
    clean: Api, livekit_server: LiveKit, path: str
) -> None:
    later = int(time.time()) + 3600
    forger = LiveKit(livekit_server.url, livekit_server.key, "x" * 48, livekit_server.child)
    good, joinless = claims(livekit_server), claims(livekit_server, video={"room": "r"})
    for token, remedy in (
        (signed(forger, good), "Make it with an API key and secret of that server."),
        (signed(livekit_server, claims(livekit_server, nbf=later)), "not valid yet"),
        (signed(livekit_server, claims(livekit_server, exp=1)), "has expired: create a new one"),
        (signed(livekit_server, joinless), "set `roomJoin`"),
    ):
        status, problem = await asked(clean, path, livekit_server, token)
        assert (status, problem["code"]) == (422, "livekit_token_rejected")
        assert remedy in problem["detail"]


@both_ways
@pytest.mark.parametrize("more", ["\n", " ", "=", ".x", "é"])
async def test_what_no_token_holds_is_refused_before_anybody_makes_way(
    api: Api, livekit_server: LiveKit, path: str, more: str
) -> None:
    held = (await api.http.post("/v1/sessions", json=launch(livekit_server, "agent-1"))).json()
    body = launch(livekit_server, "agent-2")
    spoilt = {"url": body["url"], "token": body["token"] + more}
    asks = {"room": "lounge", "persona": "default", "livekit": spoilt}
    answer = await api.http.post(path, json=asks if path == "/sessions" else body | spoilt)
    assert answer.json()["detail"] == "The token is not a LiveKit access token."
    assert (await api.http.get(f"/sessions/{held['id']}")).json()["state"] in ("starting", "ready")
    assert len(api.stage.runners) == 1


async def test_a_plugins_caller_is_told_of_nothing_that_it_does_not_send(
    clean: Api, livekit_server: LiveKit
) -> None:
    video = {"roomJoin": True, "room": "r"}
    changes: list[dict[str, Any]] = [
        {"attributes": {}},
        {"attributes": {PUBLISH_ON_BEHALF: "theirs"}},
        {"attributes": {PUBLISH_ON_BEHALF: ""}},
        {"exp": 1},
        {"sub": ""},
        {"video": {"roomJoin": True}},
        *({"video": video | {grant: False}} for grant in ("canPublish", "canPublishData")),
        *({"video": video | {grant: True}} for grant in ("hidden", "recorder")),
    ]
    for change in changes:
        token = signed(livekit_server, claims(livekit_server, **change))
        status, problem = await asked(clean, "/v1/sessions", livekit_server, token)
        assert status == 422, change
        for theirs in ("livekit.", "audio", "`room`", "`identity`"):
            assert theirs not in problem["detail"], change


@asynccontextmanager
async def answering(status: str, body: bytes = b"") -> AsyncIterator[str]:
    """The URL of a server that says this to everybody."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@both_ways
async def test_what_is_not_livekit_is_no_matter_of_the_token(
    clean: Api, livekit_server: LiveKit, path: str
) -> None:
    token = agents_token(livekit_server, agent="a")
    for status in ("404 Not Found", "301 Moved Permanently", "405 Method Not Allowed"):
        async with answering(status, b"<html>Nothing here.</html>") as url:
            found, problem = await asked(clean, path, livekit_server, token, url)
            assert (found, problem["code"]) == (502, "livekit_unreachable")
            assert problem["detail"] == (
                f"What answers at {url} is not LiveKit ({status[:3]}): check the URL."
            )


@both_ways
async def test_a_livekit_whose_rooms_are_not_made_by_joining(
    clean: Api, livekit_server: LiveKit, path: str
) -> None:
    token = agents_token(livekit_server, agent="a")
    async with answering("404 Not Found", b"requested room does not exist") as url:
        found, problem = await asked(clean, path, livekit_server, token, url)
        assert (found, problem["code"]) == (422, "livekit_token_rejected")
        assert problem["detail"].endswith("create it first.")


async def test_a_body_that_is_not_sent_as_json(clean: Api) -> None:
    content = b'{"room": "r", "persona": "default"}'
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/jsonx"}):
        for path in PATHS:
            answer = await clean.http.post(path, content=content, headers=headers)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (422, "validation_error")
            assert "`Content-Type: application/json`" in problem["detail"]
    problem = await refused(clean, [], 422, "validation_error")
    assert "Content-Type" not in problem["detail"]


async def test_a_body_that_cannot_be_read_is_a_problem_like_others(clean: Api) -> None:
    headers = {"content-type": "application/json"}
    answer = await clean.http.post("/sessions", content=b"[" * 100_000, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:voipavatar:problem:validation_error"
    assert answer.json()["detail"] == "The body is not valid JSON."
