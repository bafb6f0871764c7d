"""Postgres goes away in the midst of calls, and comes back: none of them ends, all of them can be
ended, and everybody whose session was made knows its id."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.db import api_keys
from app.db.database import Database
from app.errors import Unhealthy
from app.session_types import FailureCode, Outcome
from app.sessions import instances, store
from app.sessions.events import SessionEvents
from app.sessions.instances import Instance
from app.telemetry.prometheus import Metrics
from tests.e2e.waiting import until
from tests.fixtures.api import Api, QuietRuntime, Serve
from tests.fixtures.outage import Outage

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
BODY = {"room": "r", "persona": "default"}


@pytest.fixture
async def api(serve: Serve, service_settings: Settings, outage: Outage) -> Api:
    settings = service_settings.model_copy(update={"database_url": outage.url})
    return await serve(settings, QuietRuntime())


async def recorded(api: Api, session: dict[str, Any], state: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def looked() -> bool:
        items = (await api.http.get("/sessions")).json().get("items", [])
        found.update(next((each for each in items if each["id"] == session["id"]), {}))
        return found.get("state") == state

    await until(looked)
    return found


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_session_is_ended_during_an_outage_and_recorded_after_it(
    api: Api, outage: Outage, database: Database, keyed: bool
) -> None:
    if keyed:
        api.http.headers["x-api-key"] = await api_keys.create_key(database, "k")
    session = await api.create()
    path = f"/sessions/{session['id']}"
    await outage.begin()
    seen = await api.http.get(path)
    assert (seen.status_code, seen.json()) == (200, session)
    assert (await api.http.post(f"{path}/interrupt")).status_code == 202
    ending = await api.http.delete(path)
    assert (ending.status_code, ending.json()["state"]) in ((202, "ending"), (200, "ended"))
    async with asyncio.timeout(20):
        while (await api.http.get(path)).json()["state"] != "ended":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    again = await api.http.delete(path)
    assert (again.status_code, again.json()["end_reason"]) == (200, "deleted")
    assert (await api.http.get("/sessions")).status_code == 503
    assert (await api.http.delete("/sessions/ses_of_nobody")).status_code == 503
    over = datetime.now(UTC)
    await outage.end()
    row = await recorded(api, session, "ended")
    assert row["end_reason"] == "deleted"
    assert datetime.fromisoformat(row["ended_at"]) <= over
    await api.create()  # its key is free


async def test_a_wrong_key_is_refused_during_an_outage_as_well(
    api: Api, outage: Outage, database: Database
) -> None:
    api.http.headers["x-api-key"] = await api_keys.create_key(database, "k")
    session = await api.create()
    await outage.begin()
    answer = await api.http.delete(f"/sessions/{session['id']}", headers={"x-api-key": "va_no"})
    assert answer.status_code == 401


async def test_a_session_is_ended_while_the_database_says_nothing(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PATIENCE_S", 0.05)
    monkeypatch.setattr("app.db.database.RECALL_S", 0.05)
    session = await api.create()
    outage.fall_silent()
    answer = await api.http.delete(f"/sessions/{session['id']}")
    assert (answer.status_code, answer.json()["state"]) == (202, "ending")
    await outage.end()
    assert (await recorded(api, session, "ended"))["end_reason"] == "deleted"


async def test_a_session_becomes_ready_during_an_outage(api: Api, outage: Outage) -> None:
    api.stage.ready_at_once = False
    waiting = asyncio.create_task(api.http.post("/sessions?wait=ready&timeout=30", json=BODY))
    runner = await api.runner()
    await outage.begin()
    runner.may_be_ready.set()
    answer = await waiting
    assert (answer.status_code, answer.json()["state"]) == (201, "ready")
    assert answer.json()["id"] == runner.spec.id
    await outage.end()
    row = await recorded(api, answer.json(), "ready")
    assert row["ready_at"] is not None


async def test_who_waits_for_a_session_gets_its_id_though_nothing_can_be_read(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Unhealthy("gone")

    monkeypatch.setattr("app.sessions.service.Sessions.started", fail)
    answer = await api.http.post("/sessions?wait=ready", json=BODY)
    assert (answer.status_code, answer.json()["id"]) == (201, (await api.runner()).spec.id)


async def test_a_commit_whose_answer_is_lost_made_a_session(api: Api, outage: Outage) -> None:
    outage.lose_commit_of = b"INSERT INTO sessions"
    answer = await api.http.post("/sessions?wait=ready", json=BODY)
    assert outage.commit_was_lost
    assert (answer.status_code, answer.json()["state"]) == (201, "ready")
    assert (await api.http.post("/sessions", json=BODY)).json()["code"] == "room_conflict"


async def test_a_commit_that_never_arrived_made_none(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "DOUBT_S", 0.5)
    outage.lose_commit_of, outage.commits = b"INSERT INTO sessions", False
    answer = await api.http.post("/sessions?wait=ready", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (503, "unhealthy")
    assert api.stage.runners == []
    assert (await api.http.get("/sessions")).json()["items"] == []
    await api.create()


async def test_a_row_that_nobody_was_told_of_does_not_keep_its_key(
    api: Api, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit arrives, and nobody can tell for a while."""
    monkeypatch.setattr(store, "DOUBT_S", 0.0)
    monkeypatch.setattr(store, "LATE_S", 0.1)
    outage.lose_commit_of = b"INSERT INTO sessions"
    answer = await api.http.post("/sessions", json=BODY)
    assert answer.status_code == 503
    [row] = (await api.http.get("/sessions")).json()["items"]
    assert (await recorded(api, row, "failed"))["error"]["code"] == "internal"
    await api.create()


async def test_a_caller_is_not_blamed_for_a_full_disk(api: Api) -> None:
    api.stage.ready_at_once = False
    for code in (FailureCode.STORAGE_UNAVAILABLE, FailureCode.RESOURCES_EXHAUSTED):
        before = len(api.stage.runners)
        waiting = asyncio.create_task(api.http.post("/sessions?wait=ready", json=BODY))
        await until(lambda: len(api.stage.runners) > before)  # noqa: B023
        api.stage.runners[-1].end(Outcome(code, "The disk is full."))
        answer: httpx.Response = await waiting
        assert (answer.status_code, answer.json()["code"]) == (503, str(code))


async def test_whoever_comes_back_first_takes_nobody_for_dead(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts share a database that was away for longer than a heartbeat may be missed."""
    clock = [100.0]
    monkeypatch.setattr("app.sessions.instances.time.monotonic", lambda: clock[0])
    ours, other = (Instance(database, SessionEvents(database, Metrics())) for _ in range(2))
    await ours.register()
    ours._check_heartbeat(other.id, 1.0, clock[0])
    ours._check_heartbeat(other.id, 2.0, clock[0])
    clock[0] += 60.0
    await ours.reap()
    assert ours._check_heartbeat(other.id, 2.0, clock[0]) is True
    for _ in range(6):
        clock[0] += instances.BEAT_S
        await ours.reap()
    assert ours._check_heartbeat(other.id, 2.0, clock[0]) is False
