"""What a request is refused for: its code, no secret in the answer, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from livekit.api import TokenVerifier

from app.config import Settings
from app.rtc.sdk.tokens import avatar_token, viewer_token
from app.session_types import AudioSpec, Limits
from tests.fixtures.api import Api, Serve
from tests.fixtures.refusals import BODY, refused

WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"room": "é" * 129}, "room"),
    ({"room": "x" * 300}, "room"),
    ({"room": ""}, "room"),
    ({"room": "a\0b"}, "room"),
    ({"room": 7}, "room"),
    ({"persona": None}, "persona"),
    ({"identity": "x" * 257}, "identity"),
    ({"colour": "red"}, "colour"),
    ({"audio": {"volume": 1}}, "volume"),
    ({"audio": {"source": "file"}}, "source"),
    ({"video": {"width": 511, "height": 512}}, "width"),
    ({"video": {"width": 512}}, "video"),
    ({"video": {"width": 100_000, "height": 512}}, "width"),
    ({"limits": {"join_timeout_s": 0}}, "join_timeout_s"),
    ({"limits": {"max_duration_s": -1}}, "max_duration_s"),
    ({"limits": {"participant_left_timeout_s": -1}}, "participant_left_timeout_s"),
    ({"metadata": "x" * 4097}, "metadata"),
    ({"metadata": {"a": "é" * 2048}}, "metadata"),
    ({"metadata": {"a": "b\0"}}, "metadata"),
    ({"livekit": {"url": "ws://user:pass@127.0.0.1", "token": "t"}}, "url"),
    ({"livekit": {"url": "file:///etc/passwd", "token": "t"}}, "url"),
    ({"livekit": {"url": "ws://127.0.0.1:0", "token": "t"}}, "url"),
    ({"livekit": {"url": "ws://127.0.0.1"}}, "token"),
]


async def test_fields_that_are_wrong(clean: Api) -> None:
    for change, place in WRONG_FIELDS:
        problem = await refused(clean, BODY | change, 422, "validation_error")
        assert any(place in error["loc"] for error in problem["errors"]), change


async def test_a_name_may_be_256_bytes(serve: Serve, service_settings: Settings) -> None:
    api = await serve(service_settings)
    room = "é" * 128
    assert (await api.create(room, metadata="x" * 4094))["room"] == room


UNSOUND = [
    b"",
    b"{",
    b"[]",
    b'"\xff"',
    b'{"room": "\\ud800", "persona": "default"}',
    b'{"room": "r", "persona": "default", "metadata": {"a": "\\ud800"}}',
    b'{"room": "r", "persona": "default", "metadata": {"a": NaN}}',
    b'{"room": "r", "persona": "default", "\\ud800": 1}',
    b'{"room": "r", "persona": "default", "limits": {"join_timeout_s": Infinity}}',
    b"[" * 100_000,
    b'{"room": ' + b"9" * 5000 + b"}",
]


async def test_bodies_that_are_no_sound_json(clean: Api) -> None:
    headers = {"content-type": "application/json"}
    for content in UNSOUND:
        answer = await clean.http.post("/sessions", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), content


async def test_the_form_of_a_simple_page_is_refused(clean: Api) -> None:
    answer = await clean.http.post("/sessions", content=b'{"room":"r","persona":"default"}')
    assert answer.status_code == 422


async def test_an_agents_stream_needs_an_agent(clean: Api) -> None:
    await refused(clean, BODY | {"audio": {"source": "data_stream"}}, 422, "validation_error")


async def test_an_avatar_does_not_follow_itself(clean: Api) -> None:
    await refused(clean, BODY | {"audio": {"participant": "avatar"}}, 422, "validation_error")


async def test_unknown_persona(clean: Api) -> None:
    problem = await refused(clean, BODY | {"persona": "nobody"}, 404, "persona_not_found")
    assert "nobody" in problem["detail"]


async def test_wrong_queries(clean: Api) -> None:
    cursors = ("x", "bnVsbA==", "WzEsMl0=", "WyIyMDI2LTAxLTAxIiwgImEiXQ==")
    for query in (
        "stat=ready",
        "state=dead",
        "limit=0",
        "limit=x",
        *map("cursor={}".format, cursors),
    ):
        answer = await clean.http.get(f"/sessions?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), query


async def test_a_body_over_one_mebibyte(clean: Api) -> None:
    answer = await clean.http.post("/sessions", content=b"x" * 10_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    answer = await clean.http.post("/sessions", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_who_closes_after_sending_too_much_still_reads_why(clean: Api) -> None:
    address = clean.http.base_url
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = "POST /sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: 10000000\r\n\r\n".encode())
    for _ in range(10):
        writer.write(b"x" * 1_000_000)
        await writer.drain()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()


async def test_no_such_route_or_method(clean: Api) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/sessions", 405)):
        answer = await clean.http.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    several = await clean.http.put("/sessions")
    assert several.headers["allow"] == "GET, POST"
    one = await clean.http.request("PATCH", "/sessions/ses_1")
    assert one.headers["allow"] == "DELETE, GET"


async def test_our_own_keys_that_livekit_refuses(serve: Serve, service_settings: Settings) -> None:
    api = await serve(service_settings.model_copy(update={"livekit_api_key": "unknown"}))
    problem = await refused(api, BODY, 422, "livekit_token_rejected")
    assert "LIVEKIT_API_KEY" in problem["detail"]
    api = await serve(service_settings.model_copy(update={"livekit_api_key": ""}))
    problem = await refused(api, BODY, 422, "livekit_token_rejected")
    assert "LIVEKIT_API_KEY" in problem["detail"]


async def test_a_viewer_token_lets_a_person_in(serve: Serve, service_settings: Settings) -> None:
    from app.rtc.sdk.tokens import read_claims
    from app.rtc.sdk.validate import ask_livekit

    api = await serve(service_settings)
    session = await api.create("their room")
    url = f"/sessions/{session['id']}/viewer-token"
    made = (await api.http.post(url)).json()
    assert set(made) == {"token", "livekit_url", "room", "identity", "expires_at"}
    assert read_claims(made["token"]).room == made["room"] == "their room"
    await ask_livekit(made["livekit_url"], made["token"], ours=True)
    named = (await api.http.post(url, json={"identity": "ann", "can_publish": False})).json()
    assert named["identity"] == read_claims(named["token"]).identity == "ann"
    for body in ({"identity": "avatar"}, {"colour": "red"}):
        answer = await api.http.post(url, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


async def test_a_session_that_is_over_lets_nobody_in(api: Api) -> None:
    session = await api.create()
    assert (await api.http.delete(f"/sessions/{session['id']}")).status_code in (200, 202)
    await api.ended(session["id"])
    answer = await api.http.post(f"/sessions/{session['id']}/viewer-token")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_ended")


def test_rooms_live_as_long_as_the_session_may_wait(service_settings: Settings) -> None:
    secret = service_settings.livekit_api_secret.get_secret_value()
    check = TokenVerifier(service_settings.livekit_api_key, secret)
    for limit, empty, departure in ((30.0, 300, 60), (0.5, 300, 31), (86_400.0, 86_430, 86_430)):
        limits = Limits(participant_left_timeout_s=limit)
        own = avatar_token(service_settings, "ses_1", "r", "avatar", AudioSpec(), limits)
        other, _ = viewer_token(service_settings, "r", "ann", None, can_publish=True, limits=limits)
        for token in (own, other):
            config = check.verify(token).room_config
            assert config is not None
            assert (config.empty_timeout, config.departure_timeout) == (empty, departure)


def test_the_grants_are_the_least(service_settings: Settings) -> None:
    secret = service_settings.livekit_api_secret.get_secret_value()
    check = TokenVerifier(service_settings.livekit_api_key, secret)
    own = check.verify(avatar_token(service_settings, "ses_1", "r", "avatar", AudioSpec()))
    assert own.kind == "agent"
    assert own.attributes == {"voipavatar.session": "ses_1"}
    assert own.video is not None
    assert own.video.can_publish_sources == ["camera", "microphone"]
    assert not own.video.can_publish_data
    granted = {name for name, value in vars(own.video).items() if value is True}
    assert granted == {"room_join", "can_publish", "can_subscribe"}
    token, _ = viewer_token(service_settings, "r", "ann", None, can_publish=True)
    person = check.verify(token)
    assert person.video is not None
    assert person.video.can_publish
    assert not person.video.can_publish_data, "what steers agents and avatars is data"
    token, _ = viewer_token(service_settings, "r", "ann", None, can_publish=False)
    person = check.verify(token)
    assert person.kind != "agent"
    assert person.video is not None
    assert not person.video.can_publish
