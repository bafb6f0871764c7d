"""An agent is heard whatever becomes of its avatar. Needs a LiveKit server: LIVEKIT_URL, …"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator

import numpy as np
import pytest
from conftest import Service
from livekit import api, rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, APIStatusError
from livekit.plugins import voipavatar
from livekit.plugins.voipavatar import output

RATE = 24_000
PATIENCE_S = 60.0  # only what never happens takes so long
QUICK = APIConnectOptions(max_retry=0, retry_interval=0.01, timeout=30.0)


async def join(name: str, identity: str, kind: str) -> rtc.Room:
    room = rtc.Room()
    token = (
        api.AccessToken(os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"])
        .with_identity(identity)
        .with_kind(kind)
        .with_grants(api.VideoGrants(room_join=True, room=name))
        .to_jwt()
    )
    await room.connect(os.environ["LIVEKIT_URL"], token, rtc.RoomOptions(auto_subscribe=False))
    return room


@pytest.fixture
async def room() -> AsyncIterator[rtc.Room]:
    joined = await join(f"plugin-{secrets.token_hex(4)}", "agent", "agent")
    yield joined
    await joined.disconnect()


@contextlib.asynccontextmanager
async def speaking(
    service: Service, room: rtc.Room, join_timeout: float, **options: bool
) -> AsyncIterator[tuple[AgentSession, voipavatar.AvatarSession]]:
    """An agent's session whose avatar is asked of the service."""
    avatar = voipavatar.AvatarSession(
        api_url=service.url, api_key="k", join_timeout=join_timeout, conn_options=QUICK, **options
    )
    session: AgentSession = AgentSession()
    await avatar.start(session, room)
    await session.start(Agent(instructions=""), room=room, record=False)
    try:
        yield session, avatar
    finally:
        await session.aclose()
        await avatar.aclose()


async def speech(seconds: float, channels: int = 1) -> AsyncIterator[rtc.AudioFrame]:
    turns = 220 * np.arange(RATE // 10) / RATE
    pcm = (5000 * np.sin(2 * np.pi * turns)).astype(np.int16).repeat(channels)
    for _ in range(round(seconds * 10)):
        yield rtc.AudioFrame(pcm.tobytes(), RATE, channels, RATE // 10)


async def avatar_without_ears(room: rtc.Room) -> rtc.Room:
    """Joins and publishes, and never says what it has played."""
    joined = await join(room.name, "voipavatar-agent", "agent")
    track = rtc.LocalVideoTrack.create_video_track("avatar-video", rtc.VideoSource(64, 64))
    await joined.local_participant.publish_track(track)
    return joined


async def test_without_an_avatar_the_agent_speaks_into_the_room(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=1.0) as (session, _):
        handle = session.say("la la", audio=speech(0.5))
        await asyncio.wait_for(handle, PATIENCE_S)
        assert not handle.interrupted
        published = list(room.local_participant.track_publications.values())
        assert [track.source for track in published] == [rtc.TrackSource.SOURCE_MICROPHONE]
        async with asyncio.timeout(PATIENCE_S):
            while service.posts() < 2:  # noqa: ASYNC110  # another avatar is asked for
                await asyncio.sleep(0.1)
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
    monkeypatch.setattr(output, "OVERDUE_S", 1.0)
    deaf = await avatar_without_ears(room)
    async with speaking(service, room, join_timeout=5.0) as (session, _):
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
    assert claims.attributes == {"lk.publish_on_behalf": "agent"}
    assert claims.kind == "agent"
    assert claims.video is not None
    assert claims.video.room == body["room"] == room.name
    assert sorted(claims.video.can_publish_sources) == ["camera", "microphone"]
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
