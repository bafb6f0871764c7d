"""What is tried again, what is not, and what becomes of an avatar that is already there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from conftest import Service
from livekit.agents import APIConnectionError, APIConnectOptions, APIStatusError
from livekit.plugins.voipavatar.api import Api, AvatarTaken, VoipAvatarException
from scene import NEVER_S, PATIENCE_S, until

QUICK = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=30.0)
BODY = {
    "room": "lounge",
    "identity": "avatar",
    "persona": "default",
    "livekit": {"url": "https://Here.example/", "token": "t"},
}


def avatar_of(owner: str | None, **more: str) -> dict[str, Any]:
    """A live session of the place that BODY asks for, as the service lists it."""
    return {
        "id": f"ses_{owner}",
        "livekit_url": "wss://here.example",
        "room": "lounge",
        "identity": "avatar",
        "state": "ready",
        "audio": {"source": "data_stream", "agent": owner},
    } | more


async def nobody_is_there(_: str) -> bool:
    return False


async def everybody_is_there(_: str) -> bool:
    return True


def problem(code: str) -> dict[str, Any]:
    return {"code": code, "detail": f"It is {code}."}


async def test_a_refusal_is_raised_at_once_with_what_the_service_says(service: Service) -> None:
    service.answers = [(404, problem("persona_not_found"), {"X-Request-Id": "abc"})]
    api = Api(service.url, "key-1", QUICK)
    with pytest.raises(APIStatusError, match="It is persona_not_found") as raised:
        await api.create(BODY, "agent", nobody_is_there)
    await api.aclose()
    assert service.posts() == 1
    assert raised.value.status_code == 404
    assert raised.value.request_id == "abc"
    assert service.headers[0]["x-api-key"] == "key-1"


async def test_a_fault_is_tried_again_until_the_service_takes_it(service: Service) -> None:
    service.answers = [(500, problem("internal"), {}), (502, problem("livekit_unreachable"), {})]
    api = Api(service.url, None, QUICK)
    assert await api.create(BODY, "agent", nobody_is_there) == "ses_3"
    await api.aclose()
    assert service.posts() == 3


async def test_a_lasting_fault_is_raised_in_the_end(service: Service) -> None:
    service.answers = [(503, problem("draining"), {})] * 3
    api = Api(service.url, None, QUICK)
    with pytest.raises(APIStatusError):
        await api.create(BODY, "agent", nobody_is_there)
    await api.aclose()
    assert service.posts() == 3


async def test_the_pause_is_the_one_that_the_service_asks_for(service: Service) -> None:
    service.answers = [(503, problem("capacity_exhausted"), {"Retry-After": "1"})]
    api = Api(service.url, None, QUICK)
    begun = time.monotonic()
    await api.create(BODY, "agent", nobody_is_there)
    await api.aclose()
    assert time.monotonic() - begun >= 1.0


async def test_a_service_that_is_not_there_is_a_connection_error() -> None:
    api = Api("http://127.0.0.1:9", None, QUICK)
    with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1:9 cannot be used"):
        await api.create(BODY, "agent", nobody_is_there)
    await api.aclose()


async def test_an_earlier_avatar_of_the_same_identity_makes_way(service: Service) -> None:
    mine = avatar_of("earlier", id="ses_mine")
    others = [
        mine | {"id": "ses_else", "identity": "somebody"},
        mine | {"id": "ses_there", "livekit_url": "wss://there.example"},
        mine | {"id": "ses_room", "room": "hall"},
    ]
    service.answers = [
        (409, problem("room_conflict"), {}),
        (200, {"items": [], "next_cursor": None}, {}),
        (200, {"items": others, "next_cursor": "next+page="}, {}),
        (200, {"items": [mine], "next_cursor": None}, {}),
        (200, {"items": [], "next_cursor": None}, {}),
        (202, {"id": "ses_mine", "state": "ending"}, {}),
        (200, {"id": "ses_mine", "state": "ended"}, {}),
    ]
    api = Api(service.url, None, QUICK)
    assert await api.create(BODY, "agent", nobody_is_there) == "ses_2"
    await api.aclose()
    deleted = [path for method, path in service.asked if method == "DELETE"]
    assert deleted == ["/sessions/ses_mine", "/sessions/ses_mine"]
    assert [query.get("cursor") for query in service.queries[1:4]] == ["", "", "next+page="]


@pytest.mark.parametrize("owner", ["other", None])
async def test_the_avatar_of_somebody_else_does_not_make_way(
    service: Service, owner: str | None
) -> None:
    theirs = avatar_of(owner, id="ses_theirs")
    service.answers = [
        (409, problem("room_conflict"), {}),
        (200, {"items": [theirs], "next_cursor": None}, {}),
        (200, {"items": [], "next_cursor": None}, {}),
        (200, {"items": [], "next_cursor": None}, {}),
    ]
    api = Api(service.url, None, QUICK)
    with pytest.raises(VoipAvatarException, match="avatar_participant_identity"):
        await api.create(BODY, "agent", everybody_is_there)
    await api.aclose()
    assert not service.deleted()


async def test_deleting_what_is_gone_is_no_error(service: Service) -> None:
    service.answers = [(404, problem("session_not_found"), {})]
    api = Api(service.url, None, QUICK)
    await api.delete("ses_1")
    await api.aclose()


async def test_a_place_that_another_agent_takes_meanwhile_is_taken(service: Service) -> None:
    gone, new = avatar_of("gone"), avatar_of("new")
    nothing: tuple[int, dict[str, Any], dict[str, str]] = (200, {"items": []}, {})
    service.answers = [
        (409, problem("room_conflict"), {}),
        *(nothing, (200, {"items": [gone]}, {}), nothing),
        (404, problem("session_not_found"), {}),
        (409, problem("room_conflict"), {}),
        *(nothing, (200, {"items": [new]}, {}), nothing),
    ]

    async def only_the_new_one_is_there(identity: str) -> bool:
        return identity == "new"

    api = Api(service.url, None, QUICK)
    with pytest.raises(AvatarTaken, match="'new', which is in the room"):
        await api.create(BODY, "agent", only_the_new_one_is_there)
    await api.aclose()
    assert service.deleted() == ["/sessions/ses_gone"]


@pytest.mark.parametrize(
    ("url", "key", "name"),
    [
        ("127.0.0.1:8080", "k", "VOIPAVATAR_API_URL"),
        ("http://", "k", "VOIPAVATAR_API_URL"),
        ("http://here:port", "k", "VOIPAVATAR_API_URL"),
        ("http://here\n", "k", "VOIPAVATAR_API_URL"),
        ("http://here", "k\n", "VOIPAVATAR_API_KEY"),
    ],
)
async def test_what_can_be_no_address_or_key_is_named(url: str, key: str, name: str) -> None:
    with pytest.raises(VoipAvatarException, match=name):
        Api(url, key, QUICK)


async def test_a_session_whose_answer_was_lost_is_ended(service: Service) -> None:
    service.gate.clear()
    service.items = [avatar_of("agent"), avatar_of("other")]
    api = Api(service.url, None, APIConnectOptions(max_retry=0, retry_interval=0.0, timeout=0.5))
    with pytest.raises(APIConnectionError):
        await api.create(BODY, "agent", nobody_is_there)
    service.gate.set()
    await api.aclose()
    assert set(service.deleted()) == {"/sessions/ses_agent"}


async def test_a_request_that_is_called_off_leaves_no_session(service: Service) -> None:
    service.gate.clear()
    api = Api(service.url, None, QUICK)
    asking = asyncio.create_task(api.create(BODY, "agent", nobody_is_there))
    await until(lambda: service.posts() == 1)
    asking.cancel()
    await asyncio.wait([asking])
    service.gate.set()
    await api.aclose()
    assert service.deleted() == ["/sessions/ses_1"]


async def test_a_service_that_hangs_is_not_waited_for_without_end(service: Service) -> None:
    patient = APIConnectOptions(max_retry=3, retry_interval=0.0, timeout=NEVER_S)
    api = Api(service.url, None, patient)
    service.gate.clear()
    with pytest.raises(APIConnectionError, match="did not answer in time"):
        await asyncio.wait_for(api.delete("ses_1"), PATIENCE_S)
    await api.aclose()


async def test_a_refusal_says_nothing_of_the_request_before_whose_answer_was_lost(
    service: Service,
) -> None:
    service.answers = [(500, problem("internal"), {}), (401, problem("unauthenticated"), {})]
    service.items = [avatar_of("agent", id="ses_ours")]
    api = Api(service.url, None, QUICK)
    with pytest.raises(APIStatusError):
        await api.create(BODY, "agent", nobody_is_there)
    await api.aclose()
    assert set(service.deleted()) == {"/sessions/ses_ours"}


async def test_lost_answers_of_two_rooms_are_both_looked_after(service: Service) -> None:
    service.answers = [(500, problem("internal"), {})] * 6
    service.items = [
        avatar_of("agent", id="ses_ours"),
        avatar_of("agent", id="ses_hall", room="hall"),
    ]
    api = Api(service.url, None, QUICK)
    for room in ("lounge", "hall"):
        with pytest.raises(APIStatusError):
            await api.create(BODY | {"room": room}, "agent", nobody_is_there)
    await api.aclose()
    assert set(service.deleted()) == {"/sessions/ses_ours", "/sessions/ses_hall"}


@pytest.mark.parametrize("answer", [{}, {"id": None}, ["ses_1"], "hello", None])
async def test_an_answer_of_something_else_is_a_connection_error(
    service: Service, answer: Any
) -> None:
    service.answers = [(200, answer, {})] * 10
    api = Api(service.url, None, QUICK)
    with pytest.raises(APIConnectionError, match=r"not a voipavatar service.*VOIPAVATAR_API_URL"):
        await api.create(BODY, "agent", nobody_is_there)
    with pytest.raises(APIConnectionError, match="not a voipavatar service"):
        await api.look("ses_1")
    service.answers = []
    await api.aclose()


async def test_a_redirect_is_not_followed_with_the_key(service: Service) -> None:
    elsewhere = {"Location": f"{service.url}/elsewhere"}
    statuses = (301, 302, 307, 308) * 3
    service.answers = [(status, {}, elsewhere) for status in statuses]
    api = Api(service.url, "key-1", QUICK)
    for _ in range(4):
        with pytest.raises(APIConnectionError, match="VOIPAVATAR_API_URL"):
            await api.look("ses_1")
    assert {path for _, path in service.asked} == {"/sessions/ses_1"}
    service.answers = []
    await api.aclose()


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_an_answer_without_measure_is_not_read(service: Service, status: int) -> None:
    packed = {"Content-Encoding": "gzip"}
    service.answers = [(status, {"state": "x" * 2_000_000}, {}), (status, {}, packed)]
    api = Api(service.url, None, QUICK)
    for _ in range(2):
        with pytest.raises(APIConnectionError, match="cannot be used"):
            await api.look("ses_1")
    assert all(headers["Accept-Encoding"] == "identity" for headers in service.headers)
    await api.aclose()
