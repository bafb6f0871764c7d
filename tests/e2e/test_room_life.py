"""A session in a real room: it follows a voice, survives reconnects, and ends for a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
from livekit import api, rtc

from app.local import local_livekit
from app.rtc import room as avatar_room
from app.rtc.measure.participant import LiveKitAccess
from app.rtc.measure.speaker import Speaker
from app.rtc.measure.viewer import Viewer
from app.sessions.spec import AudioSpec, EndReason, FailureCode, Limits, Outcome, State
from tests.e2e.conftest import Live
from tests.e2e.scripted import tone

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
RATE = 48_000


@pytest.fixture
async def viewer(livekit: LiveKitAccess) -> AsyncIterator[Viewer]:
    viewer = Viewer(livekit, "avatar")
    yield viewer
    await viewer.aclose()


@pytest.fixture
async def speaker(livekit: LiveKitAccess) -> AsyncIterator[Speaker]:
    speaker = Speaker(livekit, RATE)
    yield speaker
    await speaker.aclose()


def level(pcm: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(pcm.astype(np.float64))))) if len(pcm) else 0.0


async def heard_level(viewer: Viewer, seconds: float) -> float:
    before = len(viewer.heard.pcm)
    await asyncio.sleep(seconds)
    return level(viewer.heard.pcm[before:])


async def test_it_repeats_what_is_spoken_and_shows_a_face(
    perform: Perform, viewer: Viewer, speaker: Speaker
) -> None:
    await viewer.start("speech")
    await speaker.start("speech")
    live = await perform("speech")
    await asyncio.wait_for(viewer.first_picture.wait(), 5)
    await speaker.say(tone(1.0, RATE))
    await asyncio.sleep(0.6)
    assert level(viewer.heard.pcm) > 300
    stats = await live.session.stats()
    assert stats["time_to_first_frame_ms"] > 0
    assert stats["turn_start_ms"]["count"] == 1


async def test_a_full_reconnect_keeps_the_avatar_and_its_voice(
    perform: Perform, viewer: Viewer, speaker: Speaker
) -> None:
    await viewer.start("reconnect")
    await speaker.start("reconnect")
    live = await perform("reconnect")
    await asyncio.wait_for(viewer.first_picture.wait(), 5)
    room = live.session.room
    assert room is not None
    # The SDK recovers late from a connection that breaks while tracks are still negotiated.
    await asyncio.sleep(1.0)
    for scenario in (
        rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT,
        rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT,
    ):
        await room.simulate(scenario)
        await asyncio.sleep(2.0)
        pictures = len(viewer.arrivals)
        speech = asyncio.create_task(speaker.say(tone(4.0, RATE)))
        levels = [await heard_level(viewer, 0.5) for _ in range(7)]
        assert max(levels) > 300, scenario
        assert len(viewer.arrivals) - pictures > 20, scenario
        await speech
    assert not live.task.done()


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [("removed", EndReason.REMOVED), ("deleted", EndReason.ROOM_CLOSED)],
)
async def test_who_is_sent_away_says_why(
    perform: Perform, livekit: LiveKitAccess, scenario: str, reason: EndReason
) -> None:
    live = await perform(scenario)
    async with api.LiveKitAPI(livekit.url, livekit.key, livekit.secret) as server:
        if scenario == "removed":
            who = api.RoomParticipantIdentity(room=scenario, identity="avatar")
            await server.room.remove_participant(who)
        else:
            await server.room.delete_room(api.DeleteRoomRequest(room=scenario))
    assert await live.outcome() == Outcome(reason)


async def test_the_same_identity_elsewhere_supersedes(perform: Perform) -> None:
    first = await perform("twice")
    second = await perform("twice")
    assert await first.outcome() == Outcome(EndReason.SUPERSEDED)
    assert not second.task.done()


async def test_a_speaker_who_returns_in_time_keeps_the_session(
    perform: Perform, livekit: LiveKitAccess, viewer: Viewer
) -> None:
    await viewer.start("returns")
    first = Speaker(livekit, RATE)
    await first.start("returns", "guest")
    live = await perform(
        "returns",
        audio=AudioSpec("track", participant="guest"),
        limits=Limits(participant_left_timeout_s=3.0),
    )
    await first.aclose()
    await asyncio.sleep(0.5)
    again = Speaker(livekit, RATE)
    await again.start("returns", "guest")
    try:
        speech = asyncio.create_task(again.say(tone(2.0, RATE)))
        await asyncio.sleep(0.5)
        assert await heard_level(viewer, 1.0) > 300
        await speech
    finally:
        await again.aclose()
    assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)


async def test_its_time_is_over(perform: Perform, livekit: LiveKitAccess) -> None:
    live = await perform("limit", limits=Limits(max_duration_s=0.3))
    assert await live.outcome() == Outcome(EndReason.MAX_DURATION)
    await asyncio.sleep(1.0)  # LiveKit's list follows a moment later
    assert await livekit.participants("limit") == []


async def test_a_server_that_never_answers_is_a_join_timeout(perform: Perform) -> None:
    nowhere = LiveKitAccess("ws://127.0.0.1:9", "key", "s" * 32)
    live = await perform("nowhere", access=nowhere, limits=Limits(join_timeout_s=1.0))
    outcome = await live.outcome()
    assert outcome.reason is FailureCode.JOIN_TIMEOUT
    assert outcome.state is State.FAILED
    assert (await live.session.stats())["fps"] is None  # nobody was shown anything
    assert live.session.observations()["histograms"] == {}


async def test_nobody_stays_behind_when_a_session_ends_while_it_joins(
    perform: Perform, livekit: LiveKitAccess
) -> None:
    patience = {f"early-{ms}": ms / 1000 for ms in (20, 50, 90, 140)}
    for room, seconds in patience.items():
        live = await perform(room, limits=Limits(join_timeout_s=seconds))
        live.session.stop(EndReason.DELETED)  # on a fast machine it may be inside by then
        await live.outcome()
    await asyncio.sleep(1.5)  # a connection that nobody holds would show by then
    assert [await livekit.participants(room) for room in patience] == [[]] * len(patience)


async def test_a_server_that_hangs_keeps_nobody_else_from_joining(
    perform: Perform, livekit: LiveKitAccess
) -> None:
    hanging: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: hanging.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    nowhere = LiveKitAccess(f"ws://127.0.0.1:{port}", "key", "s" * 32)
    limits = Limits(join_timeout_s=7.0)
    stuck = [
        asyncio.ensure_future(perform(f"stuck-{n}", access=nowhere, limits=limits))
        for n in range(4)
    ]
    await asyncio.sleep(0.5)  # they hold every place by now
    live = await perform("beside", limits=limits)
    assert not live.task.done()
    for each in await asyncio.gather(*stuck):
        assert (await each.outcome()).reason is FailureCode.JOIN_TIMEOUT
    for writer in hanging:
        writer.close()
    silent.close()
    await silent.wait_closed()


async def test_a_lost_server_is_waited_for_and_then_given_up(
    perform: Perform,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(avatar_room, "LOST_AFTER_S", 2.0)
    async with local_livekit(tmp_path_factory.mktemp("lost")) as server:
        live = await perform(
            "lost-server", access=LiveKitAccess(server.url, server.key, server.secret)
        )
        assert not live.task.done()
        server.child.process.kill()  # its polite end waits for participants to leave
        outcome = await live.outcome(20.0)
    assert outcome.reason is FailureCode.LIVEKIT_LOST
