"""An agent is heard whatever becomes of its avatar. Needs a LiveKit server: LIVEKIT_URL, …"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from conftest import Service
from livekit import api, rtc
from livekit.agents import AgentSession, APIStatusError
from livekit.plugins import voipavatar
from livekit.plugins.voipavatar import sink
from scene import PATIENCE_S, QUICK, RATE, deaf_avatar, join, speaking, speech, until


async def test_without_an_avatar_the_agent_speaks_into_the_room(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=1.0) as (session, _):
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.wait_for(handle, PATIENCE_S)
        assert not handle.interrupted
        published = list(room.local_participant.track_publications.values())
        assert [track.source for track in published] == [rtc.TrackSource.SOURCE_MICROPHONE]
        await until(lambda: service.posts() >= 2)  # another avatar is asked for
    assert ("DELETE", "/sessions/ses_1") in service.asked


async def test_without_an_avatar_speech_of_two_channels_is_heard(
    service: Service, room: rtc.Room
) -> None:
    user = await join(room.name, "user", "standard")
    heard = asyncio.create_task(loud(user))
    async with speaking(service, room, join_timeout=0.5) as (session, _):
        handle = session.say("la la", audio=speech(60.0, channels=2))
        await asyncio.wait_for(heard, PATIENCE_S)
        handle.interrupt()
    await user.disconnect()


async def loud(user: rtc.Room) -> None:
    """Until the first voice in the room is."""
    voices: asyncio.Queue[rtc.Track] = asyncio.Queue()
    user.on("track_published", lambda publication, _: publication.set_subscribed(True))
    user.on("track_subscribed", lambda track, *_: voices.put_nowait(track))
    async for event in rtc.AudioStream(await voices.get(), sample_rate=RATE, num_channels=1):
        if np.abs(np.frombuffer(event.frame.data, np.int16)).max() > 2000:
            break


async def test_an_avatar_that_reports_nothing_is_given_up(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "OVERDUE_S", 1.0)
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        deaf = await deaf_avatar(service.token())
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.wait_for(handle, PATIENCE_S)
        again = session.say("la la", audio=speech(0.5))
        await asyncio.wait_for(again, PATIENCE_S)
        assert not again.interrupted
    await deaf.disconnect()


async def test_speech_that_waits_for_the_avatar_can_be_interrupted(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=30.0) as (session, _):
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.sleep(0.3)
        handle.interrupt()
        await asyncio.wait_for(handle, 20)  # or it waits for the avatar to join


async def test_closing_the_avatar_ends_its_session_and_not_the_agent(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=30.0) as (session, avatar):
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.sleep(0.3)
        await avatar.aclose()
        await asyncio.wait_for(handle, 20)  # or it waits for the avatar to join
        assert not handle.interrupted
    assert ("DELETE", "/sessions/ses_1") in service.asked


async def test_a_refused_request_leaves_the_agent_as_it_was(
    service: Service, room: rtc.Room
) -> None:
    service.answers = [(404, {"code": "persona_not_found", "detail": "No such persona."}, {})]
    avatar = voipavatar.AvatarSession(api_url=service.url, conn_options=QUICK)
    session: AgentSession = AgentSession()
    with pytest.raises(APIStatusError, match="No such persona"):
        await avatar.start(session, room)
    assert session.output.audio is None


async def test_the_avatars_token_speaks_for_the_agent_and_no_more(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=30.0):
        body = service.bodies[0]
    claims = api.TokenVerifier().verify(body["livekit"]["token"])
    assert claims.identity == body["identity"] == "voipavatar-agent"
    assert claims.attributes is not None
    assert claims.attributes["lk.publish_on_behalf"] == "agent"
    assert set(claims.attributes) == {"lk.publish_on_behalf", "voipavatar.request"}
    assert claims.kind == "agent"
    assert claims.video is not None
    assert claims.video.room == body["room"] == room.name
    assert sorted(claims.video.can_publish_sources or ()) == ["camera", "microphone"]
    assert not claims.video.room_admin
    assert body["audio"] == {"source": "data_stream"}


@pytest.mark.parametrize("wanted", [True, False])
async def test_whether_people_may_interrupt_is_passed_on(
    service: Service, room: rtc.Room, wanted: bool
) -> None:
    async with speaking(service, room, join_timeout=30.0, barge_in=wanted):
        assert service.bodies[0]["audio"] == {"source": "data_stream", "barge_in": wanted}


async def test_missing_settings_are_named(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIVEKIT_API_SECRET")
    avatar = voipavatar.AvatarSession(api_url=service.url)
    with pytest.raises(voipavatar.VoipAvatarException, match="LIVEKIT_API_SECRET"):
        await avatar.start(AgentSession(), room)
