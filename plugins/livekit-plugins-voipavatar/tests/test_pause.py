"""An avatar that joins while the agent speaks without one takes over at the next pause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Service
from livekit import rtc
from livekit.plugins.voipavatar import keeper, presence
from scene import (
    NEVER_S,
    PATIENCE_S,
    HearingAvatar,
    deaf_avatar,
    own_voices,
    speaking,
    speech,
    until,
)

FULL: tuple[int, dict[str, Any], dict[str, str]] = (503, {"detail": "All places are taken."}, {})


@pytest.fixture(autouse=True)
def the_first_avatar_is_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.1)
    service.answers = [FULL]


async def test_one_that_leaves_before_the_pause_is_replaced_at_once(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, avatar):
        sentence = session.say("la la", audio=speech(NEVER_S, pace=0.1))
        await until(lambda: service.posts() == 2)
        left = await deaf_avatar(service.token())
        await avatar.wait_for_join(timeout=PATIENCE_S)
        await left.disconnect()
        await until(lambda: "/sessions/ses_2" in service.deleted())
        assert own_voices(room)
        assert not sentence.done()
        sentence.interrupt()
        await asyncio.wait_for(sentence, PATIENCE_S)


async def test_one_that_is_away_at_the_pause_is_waited_for(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "BACK_WITHIN_S", NEVER_S)
    monkeypatch.setattr(presence, "FOR_GOOD", frozenset())
    face = HearingAvatar()
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, avatar):
        sentence = session.say("la la", audio=speech(NEVER_S, pace=0.1))
        await until(lambda: bool(own_voices(room)) and service.posts() == 2)
        await face.enter(service.token())
        await avatar.wait_for_join(timeout=PATIENCE_S)
        await face.room.disconnect()
        await until(lambda: not room.remote_participants)
        sentence.interrupt()
        await asyncio.wait_for(sentence, PATIENCE_S)
        await until(lambda: not own_voices(room))  # the avatar has the word
        held = session.say("la la", audio=speech(0.3))
        await asyncio.sleep(0.5)
        await face.enter(service.token())
        await asyncio.wait_for(held, PATIENCE_S)
        assert face.seconds == pytest.approx(0.3)
    await face.room.disconnect()
