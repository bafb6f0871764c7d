"""What a foreign LiveKit token is refused for, and that it is shown to nobody."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from livekit.api import AccessToken, VideoGrants

from app.config import Settings
from app.rtc.sdk import validate
from app.rtc.sdk.names import PUBLISH_ON_BEHALF
from app.rtc.sdk.tokens import avatar_token, viewer_token
from app.session_types import AudioSpec
from bench.devstack import LiveKit, free_port
from tests.fixtures.api import Api, Serve
from tests.fixtures.refusals import BODY, refused


def foreign(livekit: LiveKit, token: str, url: str = "") -> dict[str, Any]:
    return BODY | {"livekit": {"url": url or livekit.url, "token": token}}


def deaf_token(livekit: LiveKit, attributes: dict[str, str]) -> str:
    grants = VideoGrants(room_join=True, room="r", can_subscribe=False)
    token = AccessToken(livekit.key, livekit.secret).with_identity("theirs").with_grants(grants)
    return str(token.with_attributes(attributes).to_jwt())


async def test_foreign_tokens_that_livekit_would_refuse(
    clean: Api, livekit_server: LiveKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "livekit_token_rejected"
    good = avatar_token(clean.settings, "s", "r", "theirs", AudioSpec())
    answer = await refused(clean, foreign(livekit_server, good[:-4] + "AAAA"), 422, code)
    assert good[:20] not in str(answer)
    await refused(clean, foreign(livekit_server, "no token"), 422, code)
    await refused(clean, foreign(livekit_server, "a.b.c"), 422, code)
    other = avatar_token(clean.settings, "s", "other-room", "theirs", AudioSpec())
    await refused(clean, foreign(livekit_server, other), 422, code)
    mute, _ = viewer_token(clean.settings, "r", "theirs", None, can_publish=False)
    problem = await refused(clean, foreign(livekit_server, mute), 422, code)
    assert "canPublish" in problem["detail"]
    for attributes, audio in (({}, {}), ({PUBLISH_ON_BEHALF: "a"}, {"barge_in": True})):
        deaf = deaf_token(livekit_server, attributes)
        problem = await refused(clean, foreign(livekit_server, deaf) | {"audio": audio}, 422, code)
        assert "canSubscribe" in problem["detail"]
    wrong = foreign(livekit_server, good) | {"identity": "somebody-else"}
    await refused(clean, wrong, 422, code)
    monkeypatch.setattr("app.rtc.sdk.tokens.AVATAR_TTL", timedelta(minutes=-5))
    expired = avatar_token(clean.settings, "s", "r", "theirs", AudioSpec())
    problem = await refused(clean, foreign(livekit_server, expired), 422, code)
    assert "expired" in problem["detail"]


def agents_token(livekit: LiveKit, *, identity: str = "theirs", agent: str, **grants: Any) -> str:
    made = AccessToken(livekit.key, livekit.secret).with_identity(identity)
    made = made.with_attributes({PUBLISH_ON_BEHALF: agent})
    given: dict[str, Any] = {"room_join": True, "room": "r"} | grants
    return str(made.with_grants(VideoGrants(**given)).to_jwt())


@pytest.mark.parametrize("path", ["/sessions", "/v1/sessions"])
async def test_names_in_foreign_tokens_that_no_request_could_give(
    clean: Api, livekit_server: LiveKit, path: str
) -> None:
    for names in (
        {"agent": ""},
        {"agent": "x" * 257},
        {"agent": "a\0b"},
        {"agent": "a", "identity": "i" * 257},
        {"agent": "a", "identity": "i\0"},
    ):
        token = agents_token(livekit_server, **names)
        launch = {"avatar_id": "default", "url": livekit_server.url, "token": token}
        body = foreign(livekit_server, token) if path == "/sessions" else launch
        answer = await clean.http.post(path, json=body)
        found = (answer.status_code, answer.json()["code"])
        assert found == (422, "livekit_token_rejected"), names


async def test_foreign_tokens_that_cannot_do_all_that_an_avatar_does(
    clean: Api, livekit_server: LiveKit
) -> None:
    for grants, missing in (
        ({"can_publish_data": False}, "canPublishData"),
        ({"can_publish_sources": ["camera"]}, "canPublishSources"),
        ({"can_publish_sources": ["microphone"]}, "canPublishSources"),
        ({"can_publish_sources": ["CAMERA", "MICROPHONE"]}, "lower case"),  # LiveKit takes none
        ({"room_join": False}, "roomJoin"),
        ({"hidden": True}, "hidden"),
        ({"recorder": True}, "recorder"),
    ):
        token = agents_token(livekit_server, agent="a", **grants)
        body = foreign(livekit_server, token)
        problem = await refused(clean, body, 422, "livekit_token_rejected")
        assert missing in problem["detail"]


def signed(livekit: LiveKit, payload: str) -> str:
    """A token that holds any text, with the server's own signature."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    head = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(payload.encode())
    return f"{head}.{part(hmac.digest(livekit.secret.encode(), head.encode(), 'sha256'))}"


def claims(livekit: LiveKit, **changes: Any) -> str:
    body = {
        "iss": livekit.key,
        "sub": "theirs",
        "exp": int(time.time()) + 600,
        "video": {"roomJoin": True, "room": "r"},
        "attributes": {PUBLISH_ON_BEHALF: "a"},
    }
    return json.dumps(body | changes)


NO_TOKENS = {
    "a number without end": '{"exp": 1' + "0" * 400 + ', "sub": "s", "video": {"room": "r"}}',
    "lists in lists": "[" * 12_000,
    "objects in objects": '{"a":' * 2_000,
    "a list": "[]",
    "nothing": "null",
}


@pytest.mark.parametrize("path", ["/sessions", "/v1/sessions"])
async def test_what_only_looks_like_a_token(clean: Api, livekit_server: LiveKit, path: str) -> None:
    spoilt = NO_TOKENS | {
        "an agent of another kind": claims(livekit_server, attributes={PUBLISH_ON_BEHALF: 5}),
        "attributes of another kind": claims(livekit_server, attributes=[["a", "b"]]),
        "a room of another kind": claims(livekit_server, video={"roomJoin": True, "room": 5}),
    }
    for name, payload in spoilt.items():
        token = signed(livekit_server, payload)
        launch = {"avatar_id": "default", "url": livekit_server.url, "token": token}
        body = foreign(livekit_server, token) if path == "/sessions" else launch
        problem = (await clean.http.post(path, json=body)).json()
        assert problem["code"] == "livekit_token_rejected", name
        assert problem["detail"] == "The token is not a LiveKit access token.", name


@pytest.mark.parametrize(
    ("agent", "why"), [(None, "must be 1 to 256 bytes"), ("\ud800", "half a character")]
)
async def test_an_agent_that_has_no_name(
    clean: Api, livekit_server: LiveKit, agent: str | None, why: str
) -> None:
    token = signed(livekit_server, claims(livekit_server, attributes={PUBLISH_ON_BEHALF: agent}))
    for path, body in (
        ("/sessions", foreign(livekit_server, token)),
        ("/v1/sessions", {"avatar_id": "default", "url": livekit_server.url, "token": token}),
    ):
        problem = (await clean.http.post(path, json=body)).json()
        assert problem["code"] == "livekit_token_rejected"
        assert why in problem["detail"]
        assert "codec" not in problem["detail"]


async def test_a_token_for_no_room_is_not_for_one_named_none(
    clean: Api, livekit_server: LiveKit
) -> None:
    video = {"roomJoin": True, "room": None}
    token = signed(livekit_server, claims(livekit_server, video=video))
    body = foreign(livekit_server, token) | {"room": "None"}
    problem = await refused(clean, body, 422, "livekit_token_rejected")
    assert "`room`" in problem["detail"]


async def test_null_attributes_are_none(
    serve: Serve, service_settings: Settings, livekit_server: LiveKit
) -> None:
    api = await serve(service_settings)
    token = signed(livekit_server, claims(livekit_server, attributes=None))
    answer = await api.http.post("/sessions", json=foreign(livekit_server, token))
    assert (answer.status_code, answer.json()["audio"]["source"]) == (201, "track")


async def test_who_follows_a_microphone_need_not_send_data(
    serve: Serve, service_settings: Settings, livekit_server: LiveKit
) -> None:
    api = await serve(service_settings)
    token = agents_token(livekit_server, agent="a", can_publish_data=False)
    body = foreign(livekit_server, token) | {"audio": {"source": "track"}}
    assert (await api.http.post("/sessions", json=body)).status_code == 201


async def test_a_livekit_that_is_down(
    clean: Api, livekit_server: LiveKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "PATIENCE_S", 0.5)
    token = avatar_token(clean.settings, "s", "r", "theirs", AudioSpec())
    nobody = f"ws://127.0.0.1:{free_port()}"
    await refused(clean, foreign(livekit_server, token, nobody), 502, "livekit_unreachable")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        # It does not wait for ever, as this test would.
        await refused(clean, foreign(livekit_server, token, url), 502, "livekit_unreachable")


async def test_a_foreign_token_is_never_shown(
    serve: Serve, service_settings: Settings, livekit_server: LiveKit
) -> None:
    api = await serve(service_settings)
    token = avatar_token(api.settings, "s", "r", "theirs", AudioSpec())
    body = foreign(livekit_server, token)
    spoilt = await api.http.post("/sessions", json=body | {"limits": "x", "colour": 1})
    assert token not in spoilt.text
    misplaced = await api.http.post("/sessions", json=BODY | {"livekit": token})
    assert token not in misplaced.text
    answer = await api.http.post("/sessions?wait=ready", json=body)
    assert answer.status_code == 201
    session = answer.json()
    assert session["identity"] == "theirs"
    assert api.stage.runners[0].spec.token() == token
    assert token not in answer.text + repr(api.stage.runners[0].spec)
    assert token.encode() not in b"".join(
        file.read_bytes() for file in api.settings.data_dir.glob("voipavatar.db*")
    )
    answer = await api.http.post(f"/sessions/{session['id']}/viewer-token", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "livekit_external")
