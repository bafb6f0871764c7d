"""Starting twice, again, and where another agent's avatar is already."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from conftest import Service
from livekit import rtc
from livekit.agents import AgentSession, utils
from livekit.agents.testing import fake_job_context
from livekit.agents.voice.io import AudioOutput
from livekit.plugins import voipavatar
from scene import (
    IDENTITY,
    NEVER_S,
    PATIENCE_S,
    QUICK,
    deaf_avatar,
    join,
    speaking,
    speech,
    token,
    until,
)


async def test_an_avatar_that_runs_cannot_be_started_again(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=30.0) as (session, avatar):
        with pytest.raises(voipavatar.VoipAvatarException, match=r"already.*aclose"):
            await avatar.start(session, room)
        assert avatar.session_id == "ses_1"
    assert service.posts() == 1
    assert set(service.deleted()) == {"/sessions/ses_1"}


async def test_a_closed_avatar_can_be_started_again(service: Service, room: rtc.Room) -> None:
    async with speaking(service, room, join_timeout=0.5) as (session, avatar):
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        await avatar.aclose()
        await avatar.start(session, room)
        for _ in range(2):
            again = session.say("la la", audio=speech(0.3))
            await asyncio.wait_for(again, PATIENCE_S)
            assert not again.interrupted


def parts(session: AgentSession) -> list[AudioOutput]:
    """What the agent's speech goes through."""
    found, part = [], session.output.audio
    while part is not None:
        found.append(part)
        part = part.next_in_chain
    return found


async def test_the_way_of_the_speech_does_not_grow_with_each_start(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=0.5) as (session, avatar):
        first = parts(session)
        for _ in range(2):
            await avatar.aclose()
            await avatar.start(session, room)
        assert len(parts(session)) == len(first)
        await avatar.aclose()
        another: AgentSession = AgentSession()
        await avatar.start(another, room)
        assert not set(parts(another)) & set(parts(session))


def taken(room: rtc.Room, owner: str | None) -> list[tuple[int, dict[str, Any], dict[str, str]]]:
    """What a service says in which another session has the avatar's identity."""
    session = {
        "id": "ses_other",
        "state": "ready",
        "livekit_url": os.environ["LIVEKIT_URL"],
        "room": room.name,
        "identity": IDENTITY,
        "audio": {"source": "data_stream", "agent": owner},
    }
    return [
        (409, {"code": "room_conflict", "detail": "There is one already."}, {}),
        (200, {"items": [], "next_cursor": None}, {}),
        (200, {"items": [session], "next_cursor": None}, {}),
        (200, {"items": [], "next_cursor": None}, {}),
    ]


async def test_while_another_agent_in_the_room_has_it_the_agent_speaks_without(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture
) -> None:
    other = await join(room.name, "other")
    theirs = await deaf_avatar(token(room.name, IDENTITY))
    await until(lambda: IDENTITY in room.remote_participants)
    service.answers = taken(room, "other")
    with fake_job_context(room=room):  # a job's end puts avatars out of the room
        async with (
            utils.http_context.open(),
            speaking(service, room, join_timeout=NEVER_S) as (session, avatar),
        ):
            assert avatar.session_id is None
            assert "avatar_participant_identity" in caplog.text
            said = session.say("la la", audio=speech(0.3))
            await asyncio.wait_for(said, PATIENCE_S)
            assert not said.interrupted
            assert not service.deleted()
            await until(lambda: avatar.session_id is not None)  # it asks again
    assert service.posts() == 2
    await asyncio.sleep(0.5)
    assert theirs.isconnected()
    await theirs.disconnect()
    await other.disconnect()


@pytest.mark.parametrize("owner", ["agent", "gone"])
async def test_an_avatar_of_ours_or_of_an_agent_that_is_gone_makes_way(
    service: Service, room: rtc.Room, owner: str
) -> None:
    service.answers = taken(room, owner)
    async with speaking(service, room, join_timeout=30.0):
        assert service.deleted() == ["/sessions/ses_other"]
        assert service.posts() == 2


async def test_whose_avatar_it_is_is_asked_of_livekit_before_the_agent_has_joined(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture
) -> None:
    service.answers = taken(room, "agent")
    late = rtc.Room()
    avatar = voipavatar.AvatarSession(api_url=service.url, conn_options=QUICK)
    with fake_job_context(room=late, agent_identity="late") as job:
        job.job.room.name = room.name
        job._info.token = token(room.name, "late")
        await avatar.start(AgentSession(), late)
    assert "'agent', which is in the room" in caplog.text
    assert not service.deleted()
    await avatar.aclose()
