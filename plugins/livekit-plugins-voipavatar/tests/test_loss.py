"""Avatars that are lost, their ghosts, and strangers under their identity."""

from __future__ import annotations

import asyncio
import logging

import pytest
from conftest import Service
from livekit import rtc
from livekit.agents import APIConnectOptions
from livekit.plugins.voipavatar import keeper
from scene import (
    IDENTITY,
    NEVER_S,
    PATIENCE_S,
    HearingAvatar,
    deaf_avatar,
    own_voices,
    remove,
    speaking,
    speech,
    token,
    until,
)

pytestmark = pytest.mark.usefixtures("nothing_ends_by_itself")


async def test_the_ghost_of_a_lost_avatar_is_not_taken_for_the_new_one(
    service: Service, room: rtc.Room
) -> None:
    ghost = await deaf_avatar(token(room.name, IDENTITY))
    await until(lambda: IDENTITY in room.remote_participants)
    async with speaking(service, room, join_timeout=1.0) as (session, _):
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.wait_for(handle, PATIENCE_S)
        assert own_voices(room)
    await ghost.disconnect()


async def test_speech_waits_for_the_new_avatar_and_not_for_a_ghost(
    service: Service, room: rtc.Room
) -> None:
    ghost = await deaf_avatar(token(room.name, IDENTITY))
    await until(lambda: IDENTITY in room.remote_participants)
    new = HearingAvatar()
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.sleep(0.5)
        await new.enter(service.token())
        await asyncio.wait_for(handle, PATIENCE_S)
        assert not handle.interrupted
        assert new.seconds == pytest.approx(0.5)
        assert not own_voices(room)
        assert not service.deleted()
    await new.room.disconnect()
    await ghost.disconnect()


async def test_speech_ends_at_once_when_somebody_takes_the_avatars_place(
    service: Service, room: rtc.Room
) -> None:
    lost = HearingAvatar(tells=False)
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        await lost.enter(service.token())
        handle = session.say("la la", audio=speech(6.0))
        await until(lambda: lost.whole == 1)
        stranger = await deaf_avatar(token(room.name, IDENTITY))
        await asyncio.wait_for(handle, PATIENCE_S)
        await until(lambda: "/sessions/ses_1" in service.deleted())
    await stranger.disconnect()
    await lost.room.disconnect()


async def test_an_avatar_on_a_new_connection_is_still_the_same(
    service: Service, room: rtc.Room
) -> None:
    avatar = HearingAvatar()
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        await avatar.enter(service.token())
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        first = avatar.room
        await avatar.enter(service.token())
        await asyncio.wait_for(session.say("la la", audio=speech(0.4)), PATIENCE_S)
        assert avatar.seconds == pytest.approx(0.7)
        assert not service.deleted()
    await avatar.room.disconnect()
    await first.disconnect()


async def test_an_avatar_that_is_lost_is_not_told_to_fall_silent(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []  # one that fails is an error in the agent's log, 7 s later
    perform = room.local_participant.perform_rpc

    async def noted(**call: object) -> str:
        calls.append(call)
        return await perform(**call)  # type: ignore[arg-type]

    monkeypatch.setattr(room.local_participant, "perform_rpc", noted)
    lost = HearingAvatar(tells=False)
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        await lost.enter(service.token())
        handle = session.say("la la", audio=speech(6.0))
        await until(lambda: lost.whole == 1)
        await remove(room)
        await asyncio.wait_for(handle, PATIENCE_S)
    await lost.room.disconnect()
    assert not calls


async def test_the_agent_speaks_on_before_the_service_has_said_what_happened(
    service: Service, room: rtc.Room
) -> None:
    slow = APIConnectOptions(max_retry=1, retry_interval=2 * PATIENCE_S, timeout=30.0)
    lost = HearingAvatar(tells=False)
    async with speaking(service, room, PATIENCE_S, slow) as (session, _):
        await lost.enter(service.token())
        handle = session.say("la la", audio=speech(6.0))
        await until(lambda: lost.whole == 1)
        service.answers = [(503, {"detail": "The service starts."}, {})] * 20
        await remove(room)
        await asyncio.wait_for(handle, PATIENCE_S)
        service.answers = []
    await lost.room.disconnect()


async def test_what_is_left_of_speech_that_was_told_as_ended_is_not_said(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture
) -> None:
    told = HearingAvatar(tells=False)
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        await told.enter(service.token())
        handle = session.say("la la", audio=speech(NEVER_S, pace=0.1))
        await until(lambda: told.seconds > 0.5)
        await told.report(told.seconds, interrupted=True)  # as a service does on DELETE
        await told.room.disconnect()
        await until(lambda: "speaking without an avatar" in caplog.text)
        await asyncio.sleep(1.0)
        assert not own_voices(room)
        handle.interrupt()
        await asyncio.wait_for(handle, PATIENCE_S)
        await asyncio.wait_for(session.say("la la", audio=speech(0.5)), PATIENCE_S)
        assert own_voices(room)
    assert "playback_finished called more times" not in caplog.text


async def test_an_agent_says_why_it_gets_no_other_avatar(
    service: Service,
    room: rtc.Room,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.1)
    async with speaking(service, room, join_timeout=0.3):
        problem = {"code": "unauthenticated", "detail": "Send a valid key."}
        service.answers = [(401, problem, {}) for _ in range(20)]
        await until(lambda: service.posts() >= 3)
        service.answers = []
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert "no new avatar yet: Send a valid key." in said


async def test_an_agent_that_is_away_asks_for_no_avatar(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture
) -> None:
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        lost = HearingAvatar()
        await lost.enter(service.token())
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        await lost.room.disconnect()
        await until(lambda: "speaking without an avatar" in caplog.text)
        await remove(room, "agent")
        await until(lambda: not room.isconnected())
        await asyncio.sleep(2.0)  # longer than the pause before it asks
    assert service.posts() <= 2  # a slow machine may have asked before it was removed
    assert "Error in" not in caplog.text  # it waits, and does not break off
