"""Starting and closing at the same time: nobody waits without end, and no session is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Service
from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, APIStatusError
from livekit.plugins import voipavatar
from livekit.plugins.voipavatar import keeper
from scene import NEVER_S, PATIENCE_S, QUICK, own_voices, speaking, speech, until

PATIENT = APIConnectOptions(max_retry=3, retry_interval=NEVER_S, timeout=NEVER_S)
FULL: tuple[int, dict[str, Any], dict[str, str]] = (503, {"detail": "All places are taken."}, {})


async def test_a_start_ends_when_the_avatar_is_closed(service: Service, room: rtc.Room) -> None:
    service.answers = [FULL]
    avatar = voipavatar.AvatarSession(
        api_url=service.url, join_timeout=NEVER_S, conn_options=PATIENT
    )
    session: AgentSession = AgentSession()
    starting = asyncio.create_task(avatar.start(session, room))
    await until(lambda: service.posts() == 1)
    await avatar.aclose()
    with pytest.raises(voipavatar.VoipAvatarException, match="closed while it was starting"):
        await asyncio.wait_for(starting, PATIENCE_S)
    assert session.output.audio is None
    assert avatar.session_id is None


async def test_a_start_after_one_that_was_closed_is_not_closed_with_it(
    service: Service, room: rtc.Room
) -> None:
    service.answers = [FULL]
    avatar = voipavatar.AvatarSession(
        api_url=service.url, join_timeout=NEVER_S, conn_options=PATIENT
    )
    starting = asyncio.create_task(avatar.start(AgentSession(), room))
    await until(lambda: service.posts() == 1)
    await avatar.aclose()
    await avatar.start(AgentSession(), room)
    with pytest.raises(voipavatar.VoipAvatarException):
        await asyncio.wait_for(starting, PATIENCE_S)
    assert avatar.session_id == "ses_2"
    await avatar.aclose()


async def test_the_agent_speaks_on_after_a_start_that_was_closed(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=0.5) as (session, avatar):
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        await avatar.aclose()
        service.gate.clear()
        asked = service.posts()
        starting = asyncio.create_task(avatar.start(session, room))
        await until(lambda: service.posts() > asked)
        closing = asyncio.create_task(avatar.aclose())
        await asyncio.sleep(0.1)
        service.gate.set()
        await closing
        with pytest.raises(voipavatar.VoipAvatarException):
            await asyncio.wait_for(starting, PATIENCE_S)
        assert f"/sessions/ses_{service.posts()}" in service.deleted()
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)


async def test_a_start_that_is_cancelled_leaves_no_session(
    service: Service, room: rtc.Room
) -> None:
    service.gate.clear()
    avatar = voipavatar.AvatarSession(api_url=service.url, join_timeout=NEVER_S)
    starting = asyncio.create_task(avatar.start(AgentSession(), room))
    await until(lambda: service.posts() == 1)
    starting.cancel()
    await asyncio.sleep(0.1)
    service.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(starting, PATIENCE_S)
    assert service.deleted() == ["/sessions/ses_1"]


async def test_closing_while_another_avatar_is_asked_for_leaves_no_session(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.1)
    async with speaking(service, room, join_timeout=0.3) as (_, avatar):
        await until(lambda: "/sessions/ses_1" in service.deleted())
        service.gate.clear()
        await until(lambda: service.posts() == 2)
        closing = asyncio.create_task(avatar.aclose())
        await asyncio.sleep(0.1)
        service.gate.set()
        await closing
        assert "/sessions/ses_2" in service.deleted()


async def test_an_avatar_that_is_closed_twice_at_once_is_closed_once(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture
) -> None:
    async with speaking(service, room, join_timeout=NEVER_S) as (_, avatar):
        service.gate.clear()
        both = asyncio.gather(avatar.aclose(), avatar.aclose())
        await until(lambda: bool(service.deleted()))
        await asyncio.sleep(0.1)
        service.gate.set()
        await both
        assert service.deleted() == ["/sessions/ses_1"]
    assert "could not be ended" not in caplog.text


async def test_without_a_service_the_agent_speaks_and_asks_again(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture
) -> None:
    service.answers = [FULL]
    async with speaking(service, room, join_timeout=NEVER_S) as (session, avatar):
        assert "no avatar yet: All places are taken." in caplog.text
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        assert own_voices(room)
        await until(lambda: avatar.session_id is not None)


async def test_a_service_that_hangs_does_not_hold_up_the_start(
    service: Service, room: rtc.Room
) -> None:
    service.gate.clear()
    avatar = voipavatar.AvatarSession(api_url=service.url, join_timeout=0.5, conn_options=PATIENT)
    session: AgentSession = AgentSession()
    await asyncio.wait_for(avatar.start(session, room), PATIENCE_S)
    await session.start(Agent(instructions=""), room=room, record=False)
    await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
    service.gate.set()
    await until(lambda: bool(service.deleted()))  # what the request that was called off made
    await session.aclose()
    await avatar.aclose()


@pytest.mark.parametrize("status", [401, 403, 404, 422])
async def test_what_will_not_get_better_is_raised(
    service: Service, room: rtc.Room, status: int
) -> None:
    service.answers = [(status, {"detail": "No."}, {})]
    avatar = voipavatar.AvatarSession(api_url=service.url, conn_options=QUICK)
    with pytest.raises(APIStatusError):
        await avatar.start(AgentSession(), room)
    assert service.asked == [("POST", "/sessions")]


async def test_closing_while_a_lost_avatar_is_being_ended_ends_it(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=0.3) as (_, avatar):
        service.stuck.add("DELETE")
        await until(lambda: bool(service.deleted()))
        closing = asyncio.create_task(avatar.aclose())
        await asyncio.sleep(0)
        service.stuck.clear()
        await closing
        assert service.deleted() == ["/sessions/ses_1"] * 2


async def test_a_session_that_could_not_be_ended_is_ended_when_the_avatar_is_closed(
    service: Service,
    room: rtc.Room,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", NEVER_S)
    async with speaking(service, room, join_timeout=0.3) as (_, avatar):
        service.answers = [(200, {"state": "ready"}, {}), (503, {"detail": "Not now."}, {})]
        await until(lambda: "could not be ended" in caplog.text)
        await avatar.aclose()
        assert service.deleted() == ["/sessions/ses_1"] * 2


async def test_closing_tells_who_waits_for_the_avatar(service: Service, room: rtc.Room) -> None:
    async with speaking(service, room, join_timeout=NEVER_S) as (_, avatar):
        for timeout in (NEVER_S, None):
            waiting = asyncio.create_task(avatar.wait_for_join(timeout=timeout))
            await asyncio.sleep(0.1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        waiting = asyncio.create_task(avatar.wait_for_join(timeout=NEVER_S))
        await asyncio.sleep(0.1)
        await avatar.aclose()
        with pytest.raises(voipavatar.VoipAvatarException, match="was closed"):
            await waiting
