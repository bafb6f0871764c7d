"""The life of a session through the API, on both databases, against a real LiveKit server."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
import pytest
from sqlalchemy import select, update

from app.config import Settings
from app.db.database import Database
from app.db.tables import SessionEventRow, SessionRow
from app.session_types import EndReason, FailureCode, Outcome
from tests.fixtures.api import Api, QuietEngine, QuietRuntime, Serve

BODY = {"room": "r", "persona": "default"}

KEYS = {
    "id",
    "state",
    "room",
    "persona",
    "identity",
    "livekit_url",
    "audio",
    "video",
    "limits",
    "metadata",
    "created_at",
    "ready_at",
    "ended_at",
    "end_reason",
    "error",
}


async def test_a_session_from_post_to_its_end(api: Api) -> None:
    api.stage.ready_at_once = False
    answer = await api.http.post("/sessions", json=BODY | {"metadata": {"ticket": "42"}})
    assert answer.status_code == 201
    created = answer.json()
    assert set(created) == KEYS
    assert created["id"].startswith("ses_")
    assert created["state"] == "starting"
    assert created["identity"] == "avatar"
    assert created["livekit_url"] == api.settings.livekit_url
    assert created["limits"] == {
        "max_duration_s": None,
        "join_timeout_s": 15,
        "participant_left_timeout_s": 30,
    }
    assert created["metadata"] == {"ticket": "42"}
    assert created["error"] is None

    url = f"/sessions/{created['id']}"
    waiting = asyncio.create_task(api.http.get(url, params={"wait": "ready", "timeout": 10}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    api.stage.runners[0].may_be_ready.set()
    ready = (await waiting).json()
    assert ready["state"] == "ready"
    assert ready["ready_at"] >= ready["created_at"]

    api.stage.runners[0].may_leave.clear()
    answer = await api.http.delete(url)
    assert (answer.status_code, answer.json()["state"]) == (202, "ending")
    answer = await api.http.delete(url)
    assert (answer.status_code, answer.json()["state"]) == (202, "ending")
    api.stage.runners[0].may_leave.set()
    ended = await api.ended(created["id"])
    assert (ended["state"], ended["end_reason"], ended["error"]) == ("ended", "deleted", None)
    for _ in range(2):
        answer = await api.http.delete(url)
        assert (answer.status_code, answer.json()) == (200, ended)


async def test_a_stored_session_is_shown_whatever_the_rules_are_now(
    api: Api, database: Database
) -> None:
    session = await api.create()
    url = f"/sessions/{session['id']}"
    audio = {"source": "data_stream", "participant": "p" * 300, "agent": "", "barge_in": False}
    async with database.write() as transaction:
        await transaction.execute(
            update(SessionRow).values(
                audio=audio, video={"width": 3, "height": None}, limits={"join_timeout_s": 900.0}
            )
        )
    shown = (await api.http.get(url)).json()
    assert shown["audio"] == {name: audio[name] for name in ("source", "participant", "agent")}
    assert shown["limits"]["join_timeout_s"] == 900.0
    assert (await api.http.get("/sessions")).json()["items"] == [shown]
    assert (await api.http.delete(url)).status_code == 202
    assert (await api.ended(session["id"]))["end_reason"] == "deleted"


async def test_every_transition_leaves_a_row(api: Api, database: Database) -> None:
    session = await api.create()
    api.stage.runners[0].end(Outcome(FailureCode.LIVEKIT_LOST, "It did not come back."))
    failed = await api.ended(session["id"])
    assert failed["state"] == "failed"
    assert failed["error"] == {"code": "livekit_lost", "detail": "It did not come back."}
    async with database.read() as reading:
        query = select(SessionEventRow).order_by(SessionEventRow.id)
        events = (await reading.scalars(query)).all()
    assert [(each.from_state, each.to_state, each.reason) for each in events] == [
        (None, "starting", None),
        ("starting", "ready", None),
        ("ready", "failed", "livekit_lost"),
    ]


async def test_each_reason_to_end_is_told(api: Api) -> None:
    for reason in EndReason:
        session = await api.create()
        api.stage.runners[-1].end(Outcome(reason))
        ended = await api.ended(session["id"])
        assert (ended["state"], ended["end_reason"], ended["error"]) == ("ended", reason, None)


@pytest.mark.parametrize(
    ("code", "status", "problem"),
    [
        (FailureCode.JOIN_TIMEOUT, 504, "start_timeout"),
        (FailureCode.PERSONA_INVALID, 422, "persona_invalid"),
        (FailureCode.LIVEKIT_UNREACHABLE, 502, "livekit_unreachable"),
        (FailureCode.LIVEKIT_TOKEN_REJECTED, 422, "livekit_token_rejected"),
        (FailureCode.ENGINE_ERROR, 500, "internal"),
    ],
)
async def test_who_waits_is_told_of_a_failure(
    serve: Serve, service_settings: Settings, code: FailureCode, status: int, problem: str
) -> None:
    api = await serve(service_settings, QuietRuntime(ready_at_once=False))
    waiting = asyncio.create_task(api.http.post("/sessions?wait=ready&timeout=10", json=BODY))
    (await api.runner()).end(Outcome(code, "So it was."))
    answer = await waiting
    assert (answer.status_code, answer.json()["code"]) == (status, problem)
    assert "So it was." in answer.json()["detail"]
    [row] = (await api.http.get("/sessions")).json()["items"]
    assert (row["state"], row["error"]["code"]) == ("failed", code)
    answer = await api.http.get(f"/sessions/{row['id']}?wait=ready")
    assert answer.json()["code"] == problem


async def test_waiting_ends_with_its_timeout(api: Api) -> None:
    api.stage.ready_at_once = False
    answer = await api.http.post("/sessions?wait=ready&timeout=0.1", json=BODY)
    assert (answer.status_code, answer.json()["state"]) == (201, "starting")


async def test_of_two_at_once_on_one_key_one_wins(api: Api, database: Database) -> None:
    answers = await asyncio.gather(*(api.http.post("/sessions", json=BODY) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert {problem["code"] for problem in refused} == {"room_conflict"}
    assert len(api.stage.runners) == 1
    async with database.read() as reading:
        assert len((await reading.scalars(select(SessionRow))).all()) == 1
    other = await api.http.post("/sessions", json=BODY | {"identity": "avatar-2"})
    assert other.status_code == 201
    [winner] = [answer.json() for answer in answers if answer.status_code == 201]
    await api.http.delete(f"/sessions/{winner['id']}")
    await api.ended(winner["id"])
    assert (await api.http.post("/sessions", json=BODY)).status_code == 201


async def test_no_more_than_the_engine_bears(serve: Serve, service_settings: Settings) -> None:
    api = await serve(service_settings, QuietRuntime(QuietEngine(capacity=2)))
    answers = await asyncio.gather(
        *(api.http.post("/sessions", json=BODY | {"room": f"r{n}"}) for n in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["code"] == "capacity_exhausted"
    assert int(refused.headers["retry-after"]) > 0
    assert len((await api.http.get("/sessions")).json()["items"]) == 2
    session = next(answer.json() for answer in answers if answer.status_code == 201)
    await api.http.delete(f"/sessions/{session['id']}")
    await api.ended(session["id"])
    assert (await api.http.post("/sessions", json=BODY | {"room": "r9"})).status_code == 201


async def test_the_list_goes_page_by_page(api: Api) -> None:
    made = [(await api.create(f"r{number}"))["id"] for number in range(4)]
    page = (await api.http.get("/sessions?limit=3&state=&cursor=")).json()
    assert [item["id"] for item in page["items"]] == made[:0:-1]
    rest = await api.http.get("/sessions", params={"limit": 3, "cursor": page["next_cursor"]})
    assert [item["id"] for item in rest.json()["items"]] == made[:1]
    assert rest.json()["next_cursor"] is None
    api.stage.runners[1].end(Outcome(EndReason.REMOVED))
    await api.ended(made[1])
    ended = (await api.http.get("/sessions?state=ended")).json()["items"]
    assert [item["id"] for item in ended] == [made[1]]


async def test_stats_stay_after_the_end(api: Api, serve: Serve) -> None:
    session = await api.create()
    url = f"/sessions/{session['id']}/stats"
    live = (await api.http.get(url)).json()
    assert live["fps"] == 25.0
    assert live["lateness_ms"] == {"p50": None, "p95": None, "p99": None}
    assert live["segments"] == {"started": 0, "finished": 0, "interrupted": 0}
    await api.http.delete(f"/sessions/{session['id']}")
    await api.ended(session["id"])
    assert (await api.http.get(url)).json() == live
    another = await serve(api.settings)
    assert (await another.http.get(url)).json() == live


async def test_stats_that_cannot_be_written_keep_no_session_alive(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.sessions.registry.REPORT_AGAIN_S", 0.01)
    session = await api.create()
    runner = api.stage.runners[0]

    async def unwritable() -> dict[str, Any]:
        return {"fps": object()}

    monkeypatch.setattr(runner, "stats", unwritable)
    await api.http.delete(f"/sessions/{session['id']}")
    ended = await api.ended(session["id"])
    assert (ended["state"], ended["end_reason"]) == ("ended", "deleted")
    stats = (await api.http.get(f"/sessions/{session['id']}/stats")).json()
    assert stats["fps"] is None


async def test_time_to_the_first_frame_counts_from_the_request(api: Api) -> None:
    before = asyncio.get_running_loop().time()
    await api.create()
    after = asyncio.get_running_loop().time()
    assert before < api.stage.runners[0].spec.requested_at < after


@pytest.mark.slow
async def test_many_sessions_leave_nothing_behind(api: Api) -> None:
    async def cycle(number: int) -> None:
        session = await api.create(f"r{number % 4}", identity=f"avatar-{number}")
        await api.http.delete(f"/sessions/{session['id']}")
        await api.ended(session["id"])

    async def cycles(numbers: range) -> None:
        for first in numbers[::4]:
            await asyncio.gather(*(cycle(number) for number in range(first, first + 4)))

    await cycles(range(12))
    tasks, files = len(asyncio.all_tasks()), psutil.Process().num_fds()
    await cycles(range(12, 52))
    # Connections to the database and the service come and go; a leak would be one a session.
    assert len(asyncio.all_tasks()) < tasks + 20
    assert psutil.Process().num_fds() < files + 30
    rows = (await api.http.get("/sessions?limit=200")).json()["items"]
    assert [row["state"] for row in rows] == ["ended"] * 52
    async with asyncio.timeout(30):  # the last of them have been told as ended a moment ago
        while any(t.get_name().startswith("session") for t in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_shutdown_ends_sessions_and_takes_no_more(api: Api) -> None:
    session = await api.create()
    api.stage.runners[0].may_leave.clear()
    draining = asyncio.ensure_future(api.drain())
    await asyncio.sleep(0.05)
    refused = await api.http.post("/sessions", json=BODY | {"room": "other"})
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    ready = await api.http.get("/ready")
    assert (ready.status_code, ready.json()["code"]) == (503, "draining")
    assert (await api.http.get("/health")).status_code == 200
    api.stage.runners[0].may_leave.set()
    await draining
    ended = await api.ended(session["id"])
    assert (ended["state"], ended["end_reason"]) == ("ended", "shutdown")


async def test_a_session_that_will_not_leave_is_cut_off(
    serve: Serve, service_settings: Settings
) -> None:
    api = await serve(service_settings.model_copy(update={"drain_s": 0.1}))
    session = await api.create()
    api.stage.runners[0].may_leave.clear()
    await api.drain()
    assert (await api.ended(session["id"]))["end_reason"] == "shutdown"


async def test_unknown_sessions(api: Api) -> None:
    for method, path in (
        ("GET", "/sessions/ses_none"),
        ("DELETE", "/sessions/ses_none"),
        ("GET", "/sessions/ses_none/stats"),
        ("POST", "/sessions/ses_none/viewer-token"),
    ):
        answer = await api.http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
