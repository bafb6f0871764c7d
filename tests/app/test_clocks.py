"""A clock that is wrong: ours is named as such, and is no fault of a caller's."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.api import AccessToken, VideoGrants, access_token

from app.config import Settings
from app.rtc.sdk import clocks
from bench.devstack import LiveKit, free_port
from tests.e2e.waiting import until
from tests.fixtures.api import Api, Serve
from tests.fixtures.refusals import BODY, refused
from tests.outbound.servers import reply, server

SetClock = Callable[[float], None]
HOUR = 3600.0


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Puts this process's clock that many seconds ahead, where it concerns tokens."""
    real = time.time

    def put(ahead: float) -> None:
        class Shifted(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Any:
                return datetime.datetime.fromtimestamp(real() + ahead, tz)

        shifted = SimpleNamespace(
            datetime=Shifted, timezone=datetime.timezone, timedelta=datetime.timedelta
        )
        monkeypatch.setattr(access_token, "datetime", shifted)
        monkeypatch.setattr(
            clocks, "time", SimpleNamespace(time=lambda: real() + ahead, monotonic=time.monotonic)
        )

    return put


def foreign(livekit: LiveKit, ttl: timedelta) -> dict[str, Any]:
    """A caller's token, whose maker's clock is right."""
    made = AccessToken(livekit.key, livekit.secret).with_identity("theirs").with_ttl(ttl)
    token = made.with_grants(VideoGrants(room_join=True, room="r")).to_jwt()
    return BODY | {"livekit": {"url": livekit.url, "token": token}}


async def ready(api: Api) -> tuple[int, str | None]:
    answer = await api.http.get("/ready")
    return answer.status_code, answer.json().get("code")


async def until_ready_says(api: Api, status: int, code: str | None) -> None:
    """LiveKit may be too slow to be compared with at the first request."""

    async def said() -> bool:
        return await ready(api) == (status, code)

    await until(said)


@pytest.mark.parametrize(("ahead", "words"), [(HOUR, "ahead of"), (-HOUR, "behind")])
async def test_a_wrong_clock_of_ours_is_named(
    api: Api, set_clock: SetClock, ahead: float, words: str
) -> None:
    assert await ready(api) == (200, None)
    set_clock(ahead)
    problem = await refused(api, BODY, 503, "clock_skew")
    assert f"s {words} that of LiveKit" in problem["detail"]
    await until_ready_says(api, 503, "clock_skew")
    assert (await api.http.get("/health")).status_code == 200
    set_clock(0.0)
    await until_ready_says(api, 200, None)
    assert (await api.http.post("/sessions", json=BODY)).status_code == 201


@pytest.mark.parametrize("ahead", [45.0, -600.0])
async def test_what_livekit_puts_up_with_hinders_nobody(
    api: Api, set_clock: SetClock, ahead: float
) -> None:
    set_clock(ahead)
    assert await ready(api) == (200, None)
    assert (await api.http.post("/sessions", json=BODY)).status_code == 201


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
async def test_callers_tokens_are_judged_by_livekits_clock(
    api: Api, livekit_server: LiveKit, set_clock: SetClock, ahead: float
) -> None:
    good = foreign(livekit_server, timedelta(minutes=10))
    expired = foreign(livekit_server, timedelta(minutes=-5))
    set_clock(ahead)
    problem = await refused(api, expired, 422, "livekit_token_rejected")
    assert "expired" in problem["detail"]
    assert (await api.http.post("/sessions", json=good)).status_code == 201


async def test_another_livekit_whose_clock_is_wrong_says_nothing_of_ours(api: Api) -> None:
    def hours_ago(to: Any, _: str) -> None:
        reply(to, 401, b"", "Date: Sun, 06 Nov 1994 08:49:37 GMT")

    livekit = foreign(
        LiveKit("ws://127.0.0.1:1", "key", "s" * 32, None),  # type: ignore[arg-type]
        timedelta(minutes=10),
    )
    with server(hours_ago) as there:
        livekit["livekit"]["url"] = there.url
        await refused(api, livekit, 422, "livekit_token_rejected")
    assert await ready(api) == (200, None)


async def test_without_a_livekit_to_compare_with_nothing_is_said(
    serve: Serve, service_settings: Settings, set_clock: SetClock
) -> None:
    nowhere = {"livekit_url": f"ws://127.0.0.1:{free_port()}"}
    api = await serve(service_settings.model_copy(update=nowhere))
    set_clock(HOUR)
    assert await ready(api) == (200, None)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT", "9" * 400])
def test_a_date_that_is_none(date: str) -> None:
    assert clocks.ahead_s({"date": date}) is None
    assert clocks.ahead_s({}) is None
