"""A room is deleted while the avatar's connection is away: its return makes a new one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from livekit import api, rtc

from app.rtc.session import SessionResources
from app.session_types import EndReason, Outcome
from bench.clients.participant import LiveKitAccess, join
from tests.e2e.conftest import Live
from tests.e2e.entrance import Entrance
from tests.e2e.waiting import until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]
ALONE_S = 7.0


@pytest.fixture
def stage(stage: SessionResources) -> SessionResources:
    return replace(stage, alone_s=ALONE_S)


@asynccontextmanager
async def guest(livekit: LiveKitAccess, name: str) -> AsyncIterator[None]:
    room = rtc.Room()
    await join(room, livekit, name, "guest")
    try:
        yield
    finally:
        await room.disconnect()


async def cut_and_deleted(
    live: Live, livekit: LiveKitAccess, name: str, entrance: Entrance
) -> None:
    """The avatar cannot know that its room is gone, and cannot come back yet."""
    room = live.session.room
    assert room is not None
    entrance.lead_to(None)
    await until(lambda: room._lost_at is not None)
    async with api.LiveKitAPI(livekit.url, livekit.key, livekit.secret) as server:
        await server.room.delete_room(api.DeleteRoomRequest(room=name))
    await until(lambda: is_there(livekit, name, False))


async def is_there(livekit: LiveKitAccess, name: str, there: bool) -> bool:
    return ("avatar" in await livekit.participants(name)) is there


@pytest.mark.parametrize("returns", ["never", "before it", "after it"])
async def test_people_who_do_not_come_back_end_it(
    perform: Perform, livekit: LiveKitAccess, returns: str
) -> None:
    name, entrance = f"anew, {returns}", Entrance(livekit.url)
    async with entrance.at_a_port() as url, AsyncExitStack() as people:
        live = await perform(name, access=replace(livekit, url=url))
        room = live.session.room
        assert room is not None
        async with guest(livekit, name):
            await until(lambda: room.recreated.accompanied)
            await cut_and_deleted(live, livekit, name, entrance)
        if returns == "before it":
            await people.enter_async_context(guest(livekit, name))
        entrance.lead_to(livekit.url)
        await until(lambda: is_there(livekit, name, True))
        if returns == "never":
            assert await live.outcome() == Outcome(EndReason.ROOM_CLOSED)
            await until(lambda: is_there(livekit, name, False))
            return
        if returns == "after it":
            await people.enter_async_context(guest(livekit, name))
        await asyncio.sleep(ALONE_S + 2.0)
        assert not live.task.done()


async def test_who_was_alone_before_stays(perform: Perform, livekit: LiveKitAccess) -> None:
    name, entrance = "anew, alone", Entrance(livekit.url)
    async with entrance.at_a_port() as url:
        live = await perform(name, access=replace(livekit, url=url))
        await cut_and_deleted(live, livekit, name, entrance)
        entrance.lead_to(livekit.url)
        await until(lambda: is_there(livekit, name, True))
        await asyncio.sleep(ALONE_S + 2.0)
        assert not live.task.done()
