"""A session in a real room: it follows a voice, survives reconnects, and ends for a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from livekit import api, rtc

from app.rtc import room as avatar_room
from app.session_types import AudioSpec, EndReason, FailureCode, Limits, Outcome, State
from bench.clients.participant import LiveKitAccess
from bench.clients.speaker import RoomSpeaker
from bench.clients.viewer import Viewer
from bench.devstack import local_livekit
from tests.e2e.conftest import PATIENT, Live
from tests.e2e.scripted import tone
from tests.e2e.waiting import PATIENCE_S, speaking, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
RATE = 48_000


@pytest.fixture
async def viewer(livekit: LiveKitAccess) -> AsyncIterator[Viewer]:
    viewer = Viewer(livekit, "avatar")
    yield viewer
    await viewer.aclose()


@pytest.fixture
async def speaker(livekit: LiveKitAccess) -> AsyncIterator[RoomSpeaker]:
    speaker = RoomSpeaker(livekit, RATE)
    yield speaker
    await speaker.aclose()


def level(pcm: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(pcm.astype(np.float64))))) if len(pcm) else 0.0


async def until_heard(viewer: Viewer, speaker: RoomSpeaker) -> None:
    """Until what is spoken from now on is heard from the avatar."""
    before = len(viewer.heard.pcm)
    async with speaking(speaker, tone(0.5, RATE)):
        await until(lambda: level(viewer.heard.pcm[before:][-RATE // 2 :]) > 300)


async def test_it_repeats_what_is_spoken_and_shows_a_face(
    perform: Perform, viewer: Viewer, speaker: RoomSpeaker
) -> None:
    await viewer.start("speech")
    await speaker.start("speech")
    live = await perform("speech")
    await asyncio.wait_for(viewer.first_picture.wait(), PATIENCE_S)
    await until_heard(viewer, speaker)

    async def told() -> bool:
        count: int = (await live.session.stats())["turn_start_ms"]["count"]
        return count > 0

    await until(told)
    assert (await live.session.stats())["time_to_first_frame_ms"] > 0


async def test_a_full_reconnect_keeps_the_avatar_and_its_voice(
    perform: Perform, viewer: Viewer, speaker: RoomSpeaker
) -> None:
    await viewer.start("reconnect")
    await speaker.start("reconnect")
    live = await perform("reconnect")
    await asyncio.wait_for(viewer.first_picture.wait(), PATIENCE_S)
    room = live.session.room
    assert room is not None
    # The SDK recovers late from a connection that breaks while tracks are still negotiated.
    await asyncio.sleep(1.0)

    def seen(pictures: int) -> bool:
        return len(viewer.arrivals) > pictures

    for scenario in (
        rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT,
        rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT,
    ):
        await room.simulate(scenario)
        await asyncio.sleep(2.0)
        enough = len(viewer.arrivals) + 20
        await until_heard(viewer, speaker)
        await until(partial(seen, enough))
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

        async def sent_away() -> bool:
            # LiveKit may close the connection before it has said why. The SDK then comes back, as
            # after any such end, and the room with it: docs/api.md, "States".
            with suppress(api.TwirpError):
                if scenario == "removed":
                    who = api.RoomParticipantIdentity(room=scenario, identity="avatar")
                    await server.room.remove_participant(who)
                else:
                    await server.room.delete_room(api.DeleteRoomRequest(room=scenario))
            await asyncio.wait({live.task}, timeout=5.0)
            return live.task.done()

        await until(sent_away)
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
    first = RoomSpeaker(livekit, RATE)
    await first.start("returns", "guest")
    live = await perform(
        "returns",
        audio=AudioSpec("track", participant="guest"),
        limits=replace(PATIENT, participant_left_timeout_s=6.0),
    )
    await first.aclose()
    await asyncio.sleep(0.5)
    again = RoomSpeaker(livekit, RATE)
    await again.start("returns", "guest")
    try:
        await until_heard(viewer, again)
    finally:
        await again.aclose()
    assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)


async def test_its_time_is_over(perform: Perform, livekit: LiveKitAccess) -> None:
    live = await perform("limit", limits=replace(PATIENT, max_duration_s=0.3))
    assert await live.outcome() == Outcome(EndReason.MAX_DURATION)

    async def empty() -> bool:  # LiveKit's list follows a moment later
        return await livekit.participants("limit") == []

    await until(empty)


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
    await asyncio.sleep(1.5)  # a connection that nobody holds would show by then, and stay

    async def empty() -> bool:
        return [await livekit.participants(room) for room in patience] == [[]] * len(patience)

    await until(empty)


async def test_a_server_that_hangs_keeps_nobody_else_from_joining(
    perform: Perform, livekit: LiveKitAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avatar_room, "PLACE_S", 0.5)
    monkeypatch.setattr(avatar_room, "CONNECT_TIMEOUT_S", 2 * PATIENCE_S)
    hanging: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: hanging.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    nowhere = LiveKitAccess(f"ws://127.0.0.1:{port}", "key", "s" * 32)
    long = Limits(join_timeout_s=2 * PATIENCE_S)
    stuck = [
        asyncio.ensure_future(perform(f"stuck-{n}", access=nowhere, limits=long)) for n in range(4)
    ]
    await until(lambda: len(hanging) == 4)  # they hold every place
    live = await perform("beside", limits=PATIENT)
    assert not live.task.done()
    brief = await perform("brief", access=nowhere, limits=Limits(join_timeout_s=1.0))
    assert (await brief.outcome()).reason is FailureCode.JOIN_TIMEOUT
    assert not any(each.done() for each in stuck)
    silent.close()
    for writer in hanging:
        writer.close()
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
        outcome = await live.outcome()
    assert outcome.reason is FailureCode.LIVEKIT_LOST
