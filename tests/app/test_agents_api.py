"""What agents and their plugins ask of the service: data_stream, auto, /v1/sessions, interrupt."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from livekit import api as livekit_api

from app import main
from app.config import Settings
from app.session_types import AudioSpec
from bench.devstack import LiveKit
from tests.fixtures.api import Api, Serve


def token(server: LiveKit, agent: str | None, *, room: str = "lounge", ttl_s: int = 600) -> str:
    """As the published plugin makes it: livekit.md §1.7."""
    minted = (
        livekit_api.AccessToken(server.key, server.secret)
        .with_kind("agent")
        .with_identity("bey-avatar-agent")
        .with_ttl(timedelta(seconds=ttl_s))
        .with_grants(livekit_api.VideoGrants(room_join=bool(room), room=room))
    )
    if agent is not None:
        minted = minted.with_attributes({"lk.publish_on_behalf": agent})
    return str(minted.to_jwt())


def launch(server: LiveKit, agent: str | None, **more: Any) -> dict[str, Any]:
    return {
        "transport": "livekit",
        "avatar_id": "default",
        "url": server.url,
        "token": token(server, agent, **more),
    }


async def test_the_published_plugins_request_starts_a_session(
    api: Api, livekit_server: LiveKit
) -> None:
    answer = await api.http.post("/v1/sessions", json=launch(livekit_server, "agent-1"))
    assert answer.status_code == 201
    session = answer.json()
    assert session["room"] == "lounge"
    assert session["persona"] == "default"
    assert session["identity"] == "bey-avatar-agent"
    assert session["audio"] == {"source": "data_stream", "participant": None, "agent": "agent-1"}
    assert (await api.http.get(f"/sessions/{session['id']}")).json()["id"] == session["id"]


async def test_an_older_plugins_request_does_too(api: Api, livekit_server: LiveKit) -> None:
    body = {
        "avatar_id": "default",
        "livekit_url": livekit_server.url,
        "livekit_token": token(livekit_server, "agent-1"),
    }
    answer = await api.http.post("/v1/session", json=body)
    assert answer.status_code == 201
    assert answer.json()["audio"]["agent"] == "agent-1"


async def test_asked_again_it_is_the_same_session(api: Api, livekit_server: LiveKit) -> None:
    answers = await asyncio.gather(
        *(api.http.post("/v1/sessions", json=launch(livekit_server, "agent-1")) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(api.stage.runners) == 1


async def test_another_agent_takes_the_place_over(api: Api, livekit_server: LiveKit) -> None:
    first = await api.http.post("/v1/sessions", json=launch(livekit_server, "agent-1"))
    second = await api.http.post("/v1/sessions", json=launch(livekit_server, "agent-2"))
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]
    ended = await api.ended(first.json()["id"])
    assert (ended["state"], ended["end_reason"]) == ("ended", "superseded")
    assert second.json()["audio"]["agent"] == "agent-2"


async def test_taken_over_through_another_process_it_is_superseded(
    serve: Serve,
    service_settings: Settings,
    database_url: str,
    livekit_server: LiveKit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main, "BEAT_S", 0.05)
    settings = service_settings.model_copy(update={"database_url": database_url})
    one, other = await serve(settings), await serve(settings)
    first = await one.http.post("/v1/sessions", json=launch(livekit_server, "agent-1"))
    second = await other.http.post("/v1/sessions", json=launch(livekit_server, "agent-2"))
    assert second.status_code == 201
    ended = await other.ended(first.json()["id"])
    assert (ended["state"], ended["end_reason"]) == ("ended", "superseded")
    deleted = second.json()["id"]
    assert (await one.http.delete(f"/sessions/{deleted}")).status_code == 202
    assert (await one.ended(deleted))["end_reason"] == "deleted"


async def test_a_forged_token_takes_nobodys_place_nor_sees_it(
    api: Api, livekit_server: LiveKit
) -> None:
    first = await api.http.post("/v1/sessions", json=launch(livekit_server, "agent-1"))
    forger = LiveKit(livekit_server.url, livekit_server.key, "x" * 48, livekit_server.child)
    for agent in ("agent-1", "agent-2"):
        body = launch(livekit_server, agent) | {"token": token(forger, agent)}
        refused = await api.http.post("/v1/sessions", json=body)
        assert refused.json()["code"] == "livekit_token_rejected"
        assert "id" not in refused.json()
    held = (await api.http.get(f"/sessions/{first.json()['id']}")).json()
    assert held["state"] in ("starting", "ready")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"token": "no token"}, "livekit_token_rejected"),
        ({"avatar_id": "nobody"}, "persona_not_found"),
        ({"transport": "daily"}, "validation_error"),
        ({"url": "file:///etc/passwd"}, "validation_error"),
    ],
)
async def test_what_cannot_be_is_refused(
    api: Api, livekit_server: LiveKit, change: dict[str, str], code: str
) -> None:
    body = launch(livekit_server, "agent-1") | change
    answer = await api.http.post("/v1/sessions", json=body)
    assert answer.json()["code"] == code
    assert api.stage.runners == []


async def test_tokens_that_cannot_serve_are_refused(api: Api, livekit_server: LiveKit) -> None:
    for body, code in (
        (launch(livekit_server, None), "validation_error"),
        (launch(livekit_server, "agent-1", ttl_s=-300), "livekit_token_rejected"),
        (launch(livekit_server, "agent-1", room=""), "livekit_token_rejected"),
        (launch(livekit_server, "agent-1", room="x" * 300), "livekit_token_rejected"),
    ):
        answer = await api.http.post("/v1/sessions", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert api.stage.runners == []


async def test_auto_follows_an_agent_where_one_is_known(api: Api, livekit_server: LiveKit) -> None:
    plain = await api.create("one")
    named = await api.create("two", audio={"agent": "agent-1"})
    foreign = {"url": livekit_server.url, "token": token(livekit_server, "agent-2", room="three")}
    by_token = await api.create("three", livekit=foreign)
    asked = await api.create("four", audio={"source": "track", "agent": "agent-1"})
    found = [(s["audio"]["source"], s["audio"]["agent"]) for s in (plain, named, by_token, asked)]
    assert found == [
        ("track", None),
        ("data_stream", "agent-1"),
        ("data_stream", "agent-2"),
        ("track", None),
    ]


async def test_an_avatar_cannot_speak_for_itself(api: Api) -> None:
    body = {"room": "r", "persona": "default", "audio": {"agent": "avatar"}}
    answer = await api.http.post("/sessions", json=body)
    assert answer.json()["code"] == "validation_error"


async def test_interrupt_reaches_the_session_while_it_lives(api: Api) -> None:
    session = await api.create()
    url = f"/sessions/{session['id']}"
    answer = await api.http.post(f"{url}/interrupt")
    assert (answer.status_code, answer.json()["id"]) == (202, session["id"])
    assert api.stage.runners[0].interrupted == 1
    await api.http.delete(url)
    await api.ended(session["id"])
    assert (await api.http.post(f"{url}/interrupt")).status_code == 202
    assert api.stage.runners[0].interrupted == 1
    missing = await api.http.post("/sessions/ses_none/interrupt")
    assert missing.json()["code"] == "session_not_found"


async def test_people_may_interrupt_where_the_caller_says_so(api: Api) -> None:
    audio = {"agent": "agent-1", "participant": "ann", "barge_in": True}
    session = await api.create(audio=audio)
    assert session["audio"] == {"source": "data_stream", **audio}
    assert api.stage.runners[0].spec.audio == AudioSpec("data_stream", "ann", "agent-1", True)
    plain = await api.create("other", audio={"agent": "agent-1", "participant": "ann"})
    assert "barge_in" not in plain["audio"]
    assert api.stage.runners[1].spec.audio == AudioSpec("data_stream", None, "agent-1")
    answer = await api.http.post(
        "/sessions", json={"room": "r", "persona": "default", "audio": {"barge_in": True}}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_setting_counts_where_the_caller_says_nothing(
    serve: Serve, service_settings: Settings, database_url: str
) -> None:
    changed = {"database_url": database_url, "barge_in": True}
    api = await serve(service_settings.model_copy(update=changed))
    wanted = [{"agent": "a"}, {"agent": "a", "barge_in": False}, {"participant": "ann"}]
    for number, audio in enumerate(wanted):
        await api.create(str(number), audio=audio)
    heard = [runner.spec.audio for runner in api.stage.runners]
    assert [audio.barge_in for audio in heard] == [True, False, False]
