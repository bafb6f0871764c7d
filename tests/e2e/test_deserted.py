"""An avatar that nobody is with ends by its session's limits, in whatever room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest
from livekit import api, rtc

from app.session_types import EndReason, Outcome
from bench.clients.participant import LiveKitAccess, join
from bench.devstack import local_livekit
from tests.e2e.conftest import PATIENT, Live
from tests.e2e.waiting import until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
LEFT_S = 6.0
LIMITS = replace(PATIENT, participant_left_timeout_s=LEFT_S)

Kind = Literal["standard", "agent"]


@pytest.fixture
async def hasty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveKitAccess]:
    """A LiveKit that closes rooms long before our sessions would leave them."""
    room = {"empty_timeout": 2, "departure_timeout": 1}
    async with local_livekit(tmp_path_factory.mktemp("hasty"), room=room) as server:
        yield LiveKitAccess(server.url, server.key, server.secret)


def foreign(access: LiveKitAccess, room: str, kind: Kind) -> str:
    made = api.AccessToken(access.key, access.secret).with_identity("theirs").with_kind(kind)
    made = made.with_ttl(timedelta(minutes=10))
    return str(made.with_grants(api.VideoGrants(room_join=True, room=room)).to_jwt())


async def comes_and_goes(live: Live, access: LiveKitAccess, name: str) -> None:
    room, seen = rtc.Room(), live.session.room
    assert seen is not None
    await join(room, access, name, "guest")
    await until(lambda: seen.recreated.accompanied)  # LiveKit may tell of her 3 s late
    await room.disconnect()


async def test_alone_it_stays_as_long_as_its_limits_say(
    perform: Perform, hasty: LiveKitAccess
) -> None:
    async def case(room: str, *, kind: Kind | None = None, guest: bool = False) -> None:
        token = kind and foreign(hasty, room, kind)
        since = time.monotonic()
        live = await perform(room, access=hasty, limits=LIMITS, token=token)
        if guest:
            await comes_and_goes(live, hasty, room)
            since = time.monotonic()
        assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT), room
        assert time.monotonic() - since > LEFT_S - 0.5, room  # she has left before she says so

    async with api.LiveKitAPI(hasty.url, hasty.key, hasty.secret) as server:
        await server.room.create_room(api.CreateRoomRequest(name="made before", empty_timeout=3))
    await asyncio.gather(
        case("nobody"),
        case("a guest", guest=True),
        case("a guest, foreign token", kind="standard", guest=True),
        case("nobody, foreign token", kind="standard"),
        case("made before"),  # with less time than the session's: it is made anew
    )


async def test_a_room_that_may_not_be_made_by_joining_is_not(
    perform: Perform, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {"auto_create": False, "empty_timeout": 300}
    async with local_livekit(tmp_path_factory.mktemp("strict"), room=settings) as strict:
        access = LiveKitAccess(strict.url, strict.key, strict.secret)
        async with api.LiveKitAPI(access.url, access.key, access.secret) as server:
            await server.room.create_room(api.CreateRoomRequest(name="strict", empty_timeout=3))
            live = await perform("strict", access=access, limits=LIMITS)
            assert await live.outcome() == Outcome(EndReason.ROOM_CLOSED)
            assert (await server.room.list_rooms(api.ListRoomsRequest())).rooms == []


async def test_avatars_are_no_company_for_one_another(
    perform: Perform, livekit: LiveKitAccess
) -> None:
    limits = replace(PATIENT, participant_left_timeout_s=4.0)
    token = foreign(livekit, "two avatars", "standard")
    ours = await perform("two avatars", limits=limits)
    theirs = await perform("two avatars", limits=limits, token=token)
    for live in (ours, theirs):
        assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)


@pytest.mark.parametrize("kind", ["standard", "agent"])
async def test_who_is_there_keeps_it(perform: Perform, livekit: LiveKitAccess, kind: Kind) -> None:
    room, name = rtc.Room(), f"kept by {kind}"
    made = api.AccessToken(livekit.key, livekit.secret).with_identity("guest").with_kind(kind)
    grants = api.VideoGrants(room_join=True, room=name)
    await room.connect(livekit.url, made.with_grants(grants).to_jwt())
    try:
        live = await perform(name, limits=replace(PATIENT, participant_left_timeout_s=2.0))
        await asyncio.wait({live.task}, timeout=4.0)
        assert not live.task.done()
    finally:
        await room.disconnect()
    assert await live.outcome() == Outcome(EndReason.PARTICIPANT_LEFT)
