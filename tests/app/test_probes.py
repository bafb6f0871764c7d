"""Health, readiness, metrics, request ids, logs and the documentation."""

from __future__ import annotations

import json
import logging

import pytest

from app.config import Settings
from app.telemetry.logging import configure_logging
from tests.fixtures.api import Api, QuietEngine, QuietRuntime, Serve


async def test_health_is_exactly_ok(api: Api) -> None:
    answer = await api.http.get("/health")
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    assert (await api.http.get("/ready")).status_code == 200


async def test_health_says_what_is_wrong(serve: Serve, service_settings: Settings) -> None:
    engine = QuietEngine()
    api = await serve(service_settings, QuietRuntime(engine))
    engine.beat_age = 2.0
    await _unhealthy(api, "thread")
    engine.beat_age = 0.0
    engine.fault = "the device is gone"
    await _unhealthy(api, "the device is gone")
    engine.fault = None
    assert (await api.http.get("/health")).status_code == 200


async def _unhealthy(api: Api, what: str) -> None:
    for path in ("/health", "/ready"):
        answer = await api.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "unhealthy")
        assert answer.headers["content-type"] == "application/problem+json"
        assert what in answer.json()["detail"]


async def test_without_a_worker_the_service_is_healthy_but_not_ready(api: Api) -> None:
    api.stage.engine.no_worker = "the hosts are gone"
    assert (await api.http.get("/health")).status_code == 200
    for answer in (
        await api.http.get("/ready"),
        await api.http.post("/sessions", json={"room": "r", "persona": "default"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "unhealthy")
        assert answer.json()["detail"] == "the hosts are gone"


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_probes_answer_head(api: Api, path: str) -> None:
    answer = await api.http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/json"


async def test_metrics_count_what_happens(api: Api) -> None:
    session = await api.create()
    text = (await api.http.get("/metrics")).text
    assert 'voipavatar_sessions{state="ready"} 1.0' in text
    assert "voipavatar_sessions_created_total 1.0" in text
    assert "voipavatar_engine_frames_total 7.0" in text
    assert "voipavatar_engine_crowded_frames_total 3.0" in text
    await api.http.delete(f"/sessions/{session['id']}")
    await api.ended(session["id"])
    text = (await api.http.get("/metrics")).text
    assert 'voipavatar_sessions{state="ready"} 0.0' in text
    assert 'voipavatar_sessions_ended_total{reason="deleted",state="ended"} 1.0' in text
    assert 'route="/sessions/{session_id}"' in text
    assert session["id"] not in text


async def test_a_request_keeps_a_sane_id(api: Api) -> None:
    answer = await api.http.get("/personas", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    answer = await api.http.get("/personas", headers={"x-request-id": "a b\tc" * 100})
    assert len(answer.headers["x-request-id"]) == 32


async def test_a_fault_of_ours_is_a_problem_with_an_id(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret inner state")

    monkeypatch.setattr("app.sessions.service.Sessions.page", fail)
    answer = await api.http.get("/sessions")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


async def test_logs_name_paths_without_their_queries(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    kept = (root.handlers[:], root.level)
    try:
        configure_logging("json", "info")
        await api.http.get("/sessions?limit=5", headers={"x-request-id": "abc-2"})
        written = capsys.readouterr().err
    finally:
        root.handlers[:], root.level = kept
    [line] = [json.loads(line) for line in written.splitlines() if "abc-2" in line]
    assert (line["path"], line["status"], line["request_id"]) == ("/sessions", 200, "abc-2")
    assert "limit=5" not in written


async def test_the_documentation_is_true(api: Api) -> None:
    page = (await api.http.get("/openapi.json")).json()
    create = page["paths"]["/sessions"]["post"]
    for example in create["requestBody"]["content"]["application/json"]["examples"].values():
        body = example["value"] | {"room": example["summary"]}
        assert (await api.http.post("/sessions", json=body)).status_code == 201
    assert set(create["responses"]) >= {"201", "401", "404", "409", "413", "422", "502", "503"}
    problem = create["responses"]["409"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}
    assert "Problem" in page["components"]["schemas"]
    assert "HTTPValidationError" not in page["components"]["schemas"]
    assert "token" not in page["components"]["schemas"]["SessionView"]["properties"]


async def test_personas_are_listed(api: Api) -> None:
    items = (await api.http.get("/personas")).json()["items"]
    [default] = [item for item in items if item["name"] == "default"]
    assert default["display_name"]
    assert default["problem"] is None
