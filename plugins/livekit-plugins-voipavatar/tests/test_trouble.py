"""What goes wrong on the agent's side, and services that die: the agent is heard."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
from conftest import Service
from livekit import rtc
from livekit.plugins.voipavatar import api, keeper, presence
from livekit.plugins.voipavatar.output import PlainOutput
from scene import (
    PATIENCE_S,
    RATE,
    HearingAvatar,
    deaf_avatar,
    join,
    own_voices,
    speaking,
    speech,
    until,
)

pytestmark = pytest.mark.usefixtures("nothing_ends_by_itself")


async def test_a_listener_that_fails_does_not_silence_the_agent(
    service: Service, room: rtc.Room
) -> None:
    avatar = HearingAvatar()
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, started):
        started.on("metrics_collected", lambda metrics: metrics["latency"])  # a TypeError
        with pytest.raises(TimeoutError):
            await started.wait_for_join(timeout=0.1)
        await avatar.enter(service.token())
        await started.wait_for_join(timeout=PATIENCE_S)
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        assert avatar.seconds == pytest.approx(0.3)
    await avatar.room.disconnect()


async def test_an_error_in_the_search_for_the_avatar_leaves_the_agent_audible(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(presence.Presence, "joined", fail)
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        assert own_voices(room)
        monkeypatch.undo()
        await until(lambda: service.posts() == 2)


async def test_a_track_that_cannot_be_taken_back_does_not_silence_the_avatar(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: str) -> None:
        raise rtc.participant.UnpublishTrackError("No.")

    avatar = HearingAvatar()
    async with speaking(service, room, join_timeout=1.0) as (session, _):
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        monkeypatch.setattr(room.local_participant, "unpublish_track", refuse)
        await until(lambda: service.posts() == 2)
        await avatar.enter(service.token())
        for _ in range(100):
            await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
            if avatar.seconds:
                break
        assert avatar.seconds == pytest.approx(0.3)
    await avatar.room.disconnect()


async def test_two_rooms_of_one_process_do_not_hear_of_each_other(
    service: Service, room: rtc.Room
) -> None:
    other = await join(f"plugin-{secrets.token_hex(4)}", "agent")
    here, there = HearingAvatar(), HearingAvatar()
    async with speaking(service, room, PATIENCE_S) as (session, _):
        await here.enter(service.token())
        async with speaking(service, other, PATIENCE_S) as (another, _):
            await there.enter(service.token())
            both = (
                session.say("la la", audio=speech(0.3)),
                another.say("la la", audio=speech(0.5)),
            )
            await asyncio.wait_for(asyncio.gather(*both), PATIENCE_S)
        assert [here.seconds, there.seconds] == pytest.approx([0.3, 0.5])
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        assert here.seconds == pytest.approx(0.6)
    for each in (here.room, there.room, other):
        await each.disconnect()


async def test_an_avatar_that_does_not_fall_silent_is_given_up(
    service: Service, room: rtc.Room
) -> None:
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        deaf = await deaf_avatar(service.token())
        handle = session.say("la la", audio=speech(30.0))
        await asyncio.sleep(1.0)
        handle.interrupt(force=True)
        await asyncio.wait_for(handle, PATIENCE_S)
        next_one = session.say("la la", audio=speech(0.3))
        await asyncio.wait_for(next_one, PATIENCE_S)
        assert not next_one.interrupted
        assert own_voices(room)
    await deaf.disconnect()


@pytest.mark.parametrize("state", ["failed", "unknown", "gone"])
async def test_speech_ends_when_the_service_has_lost_the_session(
    service: Service, room: rtc.Room, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(keeper, "ASK_S", 0.1)
    monkeypatch.setattr(keeper, "AGAIN_S", 0.1)
    monkeypatch.setattr(api, "LOOK_S", 0.3)
    async with speaking(service, room, join_timeout=PATIENCE_S) as (session, _):
        avatar = HearingAvatar(tells=False)
        await avatar.enter(service.token())
        handle = session.say("la la", audio=speech(6.0))
        await until(lambda: avatar.whole == 1)
        if state == "failed":
            service.state = "failed"
        elif state == "unknown":
            service.answers = [(404, {"detail": "No such session."}, {})]
        else:
            service.gate.clear()
        await asyncio.wait_for(handle, PATIENCE_S)
        service.gate.set()
        await asyncio.wait_for(session.say("la la", audio=speech(0.3)), PATIENCE_S)
        assert own_voices(room)
    await avatar.room.disconnect()


async def test_an_interruption_of_the_first_words_leaves_no_track(room: rtc.Room) -> None:
    user = await join(room.name, "user", "standard")
    frame = rtc.AudioFrame(bytes(4800), RATE, 1, 2400)
    for pause_s in (0.0, 0.002):
        output = PlainOutput(room)
        speaking = asyncio.create_task(output.capture_frame(frame))
        await asyncio.sleep(pause_s)
        speaking.cancel()
        await asyncio.wait([speaking])
        output.clear_buffer()
        await output.capture_frame(frame)
        output.flush()
        await until(lambda: bool(user.remote_participants["agent"].track_publications))
        closing = asyncio.create_task(output.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await output.aclose()
    await until(lambda: not user.remote_participants["agent"].track_publications)
    assert not own_voices(room)
    await user.disconnect()


@pytest.mark.parametrize("answer", ["hello", ["ready"], {"state": "failed", "error": "It fell."}])
async def test_an_odd_answer_of_the_service_leaves_the_hope_of_a_face(
    service: Service, room: rtc.Room, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    async with speaking(service, room, join_timeout=0.3):
        service.answers = [(200, answer, {})]
        await until(lambda: service.posts() == 2)
    assert "speaking without an avatar: it did not join" in caplog.text


async def test_a_track_that_cannot_be_published_is_tried_again(
    room: rtc.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    frame = rtc.AudioFrame(bytes(4800), RATE, 1, 2400)
    output = PlainOutput(room)
    with monkeypatch.context() as broken:
        broken.setattr(room.local_participant, "publish_track", fail)
        await output.capture_frame(frame)
        output.flush()
        await output.wait_for_playout()
    assert not own_voices(room)
    await output.capture_frame(frame)
    assert own_voices(room)
    with monkeypatch.context() as broken:
        broken.setattr(room.local_participant, "unpublish_track", fail)
        await output.aclose()
