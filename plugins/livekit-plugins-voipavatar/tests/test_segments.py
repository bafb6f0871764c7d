"""Speech of several segments at once, as whoever sends it past the agent's session may have it."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc
from livekit.agents.voice.io import AudioOutput, PlaybackFinishedEvent
from livekit.plugins.voipavatar.output import PlainOutput
from livekit.plugins.voipavatar.route import Route
from scene import IDENTITY, PATIENCE_S, RATE, HearingAvatar, speech, token, until


async def say(output: AudioOutput, seconds: float) -> None:
    async for frame in speech(seconds):
        await output.capture_frame(frame)
    output.flush()


def ends(output: AudioOutput) -> list[PlaybackFinishedEvent]:
    told: list[PlaybackFinishedEvent] = []
    output.on("playback_finished", told.append)
    return told


async def test_each_segment_is_played_after_the_one_before(room: rtc.Room) -> None:
    output = PlainOutput(room)
    told = ends(output)
    for seconds in (0.5, 0.3):
        await say(output, seconds)
    await asyncio.wait_for(output.wait_for_playout(), PATIENCE_S)
    assert [end.playback_position for end in told] == pytest.approx([0.5, 0.3])
    assert not any(end.interrupted for end in told)
    await output.aclose()


async def test_a_segment_that_is_interrupted_behind_another_ends_with_it(room: rtc.Room) -> None:
    output = PlainOutput(room)
    told = ends(output)
    await say(output, 0.5)
    behind = asyncio.create_task(say(output, 0.3))
    await asyncio.sleep(0)
    behind.cancel()
    await asyncio.wait([behind])
    output.flush()
    await asyncio.wait_for(output.wait_for_playout(), PATIENCE_S)
    assert len(told) == 2
    await say(output, 0.3)
    output.clear_buffer()
    assert len(told) == 3
    await output.aclose()


@pytest.mark.parametrize("whole", [True, False])
async def test_all_that_a_lost_avatar_was_sent_ends(room: rtc.Room, *, whole: bool) -> None:
    lost = HearingAvatar(tells=False)
    await lost.enter(token(room.name, IDENTITY))
    route = Route(room, IDENTITY)
    route.sink.open()
    told = ends(route.voice)
    for _ in range(2):
        await say(route.voice, 0.3)
    if not whole:
        await route.voice.capture_frame(rtc.AudioFrame(bytes(4800), RATE, 1, 2400))
    await until(lambda: lost.whole == 2)
    route.plainly(deaf=True)
    assert [end.interrupted for end in told] == [True, True]
    await say(route.voice, 0.3)
    await asyncio.wait_for(route.voice.wait_for_playout(), PATIENCE_S)
    assert len(told) == 3
    assert not told[-1].interrupted
    await route.retire()
    await lost.room.disconnect()
