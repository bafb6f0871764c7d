"""Many ask for the same avatar at the same time: one is begun, and nobody else pays for it."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

import pytest

from app.api import agent_routes as compat
from app.config import Settings
from app.rtc.sdk import validate
from app.rtc.sdk.tokens import avatar_token
from app.session_types import AudioSpec
from app.sessions.events import SessionEvents
from app.sessions.locks import KeyLocks
from bench.devstack import LiveKit
from tests.app.test_agents_api import launch
from tests.fixtures.api import Api, QuietEngine, QuietRuntime, Serve
from tests.fixtures.refusals import BODY


async def live(api: Api) -> list[dict[str, Any]]:
    items = (await api.http.get("/sessions?limit=200")).json()["items"]
    return [item for item in items if item["state"] not in ("ended", "failed")]


@pytest.mark.parametrize("agents", [4, 8])
async def test_agents_that_ask_at_once_end_with_one_of_them_served(
    api: Api, livekit_server: LiveKit, agents: int
) -> None:
    api.stage.engine.capacity = 1
    bodies = [launch(livekit_server, f"agent-{n}") for n in range(agents)]
    answers = await asyncio.gather(*(api.http.post("/v1/sessions", json=each) for each in bodies))
    assert [answer.status_code for answer in answers] == [201] * agents
    [last] = await live(api)
    assert last["id"] in {answer.json()["id"] for answer in answers}
    assert len(api.stage.runners) == agents


async def test_a_session_that_does_not_make_way_may_be_asked_to_again(
    serve: Serve,
    service_settings: Settings,
    livekit_server: LiveKit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compat, "TAKEOVER_S", 0.3)
    api = await serve(service_settings, QuietRuntime(stuck=True))
    await api.http.post("/v1/sessions", json=launch(livekit_server, "agent-1"))
    bodies = [launch(livekit_server, f"agent-{n}") for n in (2, 3)]
    for answer in await asyncio.gather(
        *(api.http.post("/v1/sessions", json=each) for each in bodies)
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "capacity_exhausted")
        assert int(answer.headers["retry-after"]) > 0
        assert "did not make way" in answer.json()["detail"]
    api.stage.runners[0].may_leave.set()
    api.stage.stuck = False
    monkeypatch.undo()
    answer = await api.http.post("/v1/sessions", json=bodies[0])
    assert answer.status_code == 201
    assert [each["id"] for each in await live(api)] == [answer.json()["id"]]


async def test_the_only_place_is_free_for_who_takes_it_over(
    api: Api, livekit_server: LiveKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = SessionEvents.finished

    async def slowly(reports: SessionEvents, *told: Any) -> None:
        await finished(reports, *told)
        await asyncio.sleep(0.2)  # as where the database is slow to let go

    monkeypatch.setattr(SessionEvents, "finished", slowly)
    api.stage.engine.capacity = 1
    for agent in ("agent-1", "agent-2"):
        answer = await api.http.post("/v1/sessions", json=launch(livekit_server, agent))
        assert answer.status_code == 201


@pytest.mark.parametrize("path", ["/v1/sessions", "/sessions"])
async def test_the_same_avatar_asked_for_at_once_is_no_lack_of_places(
    api: Api, livekit_server: LiveKit, path: str
) -> None:
    api.stage.engine.capacity = 1
    body = launch(livekit_server, "agent-1") if path.startswith("/v1") else BODY
    answers = await asyncio.gather(*(api.http.post(path, json=body) for _ in range(20)))
    others = 200 if path.startswith("/v1") else 409
    assert Counter(each.status_code for each in answers) == {201: 1, others: 19}
    assert len(api.stage.runners) == 1


async def test_a_livekit_that_hangs_takes_no_places_from_others(
    serve: Serve,
    service_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validate, "PATIENCE_S", 20.0)
    api = await serve(service_settings, QuietRuntime(QuietEngine(capacity=1)))
    token = avatar_token(api.settings, "s", "r", "theirs", AudioSpec())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = {"url": f"ws://127.0.0.1:{silent.getsockname()[1]}", "token": token}
        hanging = asyncio.create_task(api.http.post("/sessions", json=BODY | {"livekit": there}))
        asked, _ = await asyncio.to_thread(silent.accept)
        assert (await api.http.post("/sessions", json=BODY)).status_code == 201
        assert not hanging.done()
        asked.close()
        assert (await hanging).json()["code"] == "livekit_unreachable"


async def test_the_last_place_goes_to_one_of_those_who_asked(api: Api) -> None:
    api.stage.engine.capacity = 2
    bodies = [BODY | {"room": f"r{n}"} for n in range(8)]
    answers = await asyncio.gather(*(api.http.post("/sessions", json=each) for each in bodies))
    found = Counter(each.json().get("code") for each in answers)
    assert found == {None: 2, "capacity_exhausted": 6}
    assert len(api.stage.runners) == 2


async def test_a_key_is_held_by_one_at_a_time_and_then_forgotten() -> None:
    locks = KeyLocks()
    order: list[str] = []
    go_on = asyncio.Event()

    async def hold(room: str, name: str) -> None:
        async with locks.of(("ws://livekit", room, "avatar")):
            order.append(name)
            await go_on.wait()

    tasks = [asyncio.create_task(hold("a", f"a{n}")) for n in range(3)]
    tasks.append(asyncio.create_task(hold("b", "b")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["a0", "b"]
    assert len(locks) == 2
    tasks[1].cancel()  # while it waits
    go_on.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a0", "b", "a2"]
    assert len(locks) == 0
