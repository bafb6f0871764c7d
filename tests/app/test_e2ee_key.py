"""A room's key on its way: to the session that needs it, and to nowhere else."""

from __future__ import annotations

import json

import pytest

from app.config import Settings
from app.session_types import FailureCode, Outcome
from app.worker.messages import spec_body, spec_of
from tests.fixtures.api import Api

KEY = "the-key-that-they-share-\N{KEY}"


async def test_the_key_is_neither_shown_nor_stored(
    api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"room": "sealed", "persona": "default", "e2ee": {"key": KEY}}
    answer = await api.http.post("/sessions?wait=ready", json=body)
    assert answer.status_code == 201, answer.text
    spec = api.stage.runners[0].spec
    assert spec.e2ee_key == KEY
    read = await api.http.get(f"/sessions/{answer.json()['id']}")
    shown = answer.text + read.text + repr(spec) + "".join(capfd.readouterr())
    assert "e2ee" not in answer.json()
    part = KEY[:20]
    assert part not in shown
    stored = b"".join(file.read_bytes() for file in api.settings.data_dir.glob("voipavatar.db*"))
    assert part.encode() not in stored


async def test_a_key_that_is_wrong_in_form_is_not_repeated(clean: Api) -> None:
    for e2ee in ({"key": KEY, "colour": 1}, {"key": [KEY]}, {"key": KEY * 100}, {"key": ""}, {}):
        body = {"room": "sealed", "persona": "default", "e2ee": e2ee}
        answer = await clean.http.post("/sessions", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
        assert KEY[:20] not in answer.text


async def test_a_key_of_half_a_character_is_refused(clean: Api) -> None:
    """It has no bytes: the session would be made, and end `internal` as it joins."""
    body = '{"room": "sealed", "persona": "default", "e2ee": {"key": "half \\ud800"}}'
    answer = await clean.http.post(
        "/sessions", content=body, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert "surrogate" in answer.text


async def test_the_key_reaches_the_process_of_the_session(
    api: Api, service_settings: Settings
) -> None:
    await api.create("sealed", e2ee={"key": KEY})
    await api.create("plain")
    sealed, plain = (runner.spec for runner in api.stage.runners)
    carried = json.loads(json.dumps(spec_body(sealed)))
    assert spec_of(carried, service_settings).e2ee_key == KEY
    assert spec_of(spec_body(plain), service_settings).e2ee_key is None


async def test_who_waits_is_told_that_the_room_is_encrypted(api: Api) -> None:
    api.stage.ready_at_once = False
    body = {"room": "sealed", "persona": "default"}
    made = (await api.http.post("/sessions", json=body)).json()
    why = "The room is end-to-end encrypted."
    (await api.runner()).end(Outcome(FailureCode.E2EE_UNSUPPORTED, why))
    ended = await api.ended(made["id"])
    assert (ended["state"], ended["end_reason"]) == ("failed", "e2ee_unsupported")
    assert ended["error"]["code"] == "e2ee_unsupported"
    answer = await api.http.get(f"/sessions/{made['id']}?wait=ready")
    assert (answer.status_code, answer.json()["code"]) == (422, "e2ee_unsupported")
