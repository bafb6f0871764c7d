"""LiveKit refuses a token after all: at the join, or when it is back after an outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from livekit import api
from structlog.testing import capture_logs

from app.errors import LiveKitTokenRejected
from app.rtc import room as avatar_room
from app.rtc.sdk.validate import ask_livekit
from app.rtc.session import RoomSession, SessionResources
from app.session_types import EndReason, FailureCode, Outcome, SessionSpec
from bench.clients.participant import LiveKitAccess
from bench.devstack import local_livekit
from tests.e2e.conftest import PATIENT, Live
from tests.e2e.entrance import Entrance
from tests.e2e.waiting import PATIENCE_S, until

pytestmark = pytest.mark.e2e

Perform = Callable[..., Awaitable[Live]]


def a_token(access: LiveKitAccess, room: str, ttl: timedelta) -> str:
    grants = api.VideoGrants(room_join=True, room=room)
    made = api.AccessToken(access.key, access.secret).with_identity("theirs").with_ttl(ttl)
    return str(made.with_grants(grants).to_jwt())


@asynccontextmanager
async def with_token(
    stage: SessionResources, access: LiveKitAccess, room: str, token: str, *, external: bool
) -> AsyncIterator[asyncio.Task[Outcome]]:
    """A session that has this token and no other; once it is ready or over."""
    spec = SessionSpec(
        id=f"ses_{room}",
        room=room,
        persona="default",
        identity="theirs",
        livekit_url=access.url,
        token=lambda: token,
        requested_at=time.monotonic(),
        external=external,
        limits=PATIENT,
    )
    ready = asyncio.Event()

    async def on_ready() -> None:
        ready.set()

    session = RoomSession(spec, stage)
    task = asyncio.create_task(session.run(on_ready))
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait({waiter, task}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    yield task
    session.stop(EndReason.SHUTDOWN)
    await task


async def test_the_token_that_livekit_has_refreshed_outlives_the_callers(
    stage: SessionResources, tmp_path: Path
) -> None:
    """A rolling restart of LiveKit, after the caller's token has expired."""
    async with local_livekit(tmp_path / "old") as old:
        entrance = Entrance(old.url)
        async with (
            local_livekit(tmp_path / "new", secret=old.secret) as new,
            entrance.at_a_port() as url,
        ):
            access = LiveKitAccess(url, old.key, old.secret)
            # LiveKit takes it for its leeway of a minute: for 15 s from now.
            token = a_token(access, "restarted", timedelta(seconds=-45))
            async with with_token(stage, access, "restarted", token, external=True) as task:
                assert not task.done()
                await until(lambda: refused(new.url, token))
                entrance.lead_newcomers_to(new.url)
                await asyncio.to_thread(old.child.stop)
                there = LiveKitAccess(new.url, new.key, new.secret)
                await until(lambda: is_there(there, "restarted", "theirs"))
                assert not task.done()


async def refused(livekit_url: str, token: str) -> bool:
    try:
        await ask_livekit(livekit_url, token, ours=False)
    except LiveKitTokenRejected:
        return True
    return False


async def is_there(access: LiveKitAccess, room: str, identity: str) -> bool:
    return identity in await access.participants(room)


@pytest.mark.parametrize("external", [True, False])
async def test_a_token_refused_at_the_join_is_final_and_shown_to_nobody(
    stage: SessionResources, livekit: LiveKitAccess, external: bool
) -> None:
    token = a_token(livekit, "refused", timedelta(minutes=-5))
    with capture_logs() as logged:
        async with with_token(stage, livekit, "refused", token, external=external) as task:
            outcome = await asyncio.wait_for(asyncio.shield(task), PATIENCE_S)
    assert outcome.reason is FailureCode.LIVEKIT_TOKEN_REJECTED
    assert "(it answered 401)" in outcome.detail
    assert ("a new token" if external else "LIVEKIT_API_KEY") in outcome.detail
    for part in token.split("."):
        assert part not in outcome.detail + repr(logged)


@pytest.mark.parametrize("external", [True, False])
async def test_a_token_that_livekit_takes_no_more_when_it_is_back(
    stage: SessionResources,
    livekit: LiveKitAccess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    external: bool,
) -> None:
    monkeypatch.setattr(avatar_room, "LOST_AFTER_S", PATIENCE_S if external else 3.0)
    entrance = Entrance(livekit.url)
    token = a_token(livekit, "back", timedelta(minutes=10))
    async with local_livekit(tmp_path) as other, entrance.at_a_port() as url:
        access = LiveKitAccess(url, livekit.key, livekit.secret)
        async with with_token(stage, access, "back", token, external=external) as task:
            assert not task.done()
            with capture_logs() as logged:
                entrance.lead_to(other.url)  # which has another secret
                outcome = await asyncio.wait_for(asyncio.shield(task), PATIENCE_S)
    assert outcome.reason is FailureCode.LIVEKIT_LOST
    # Our own token is a new one each time, and what is wrong with it may yet be put right. Of the
    # caller's there are two, with the one that LiveKit has refreshed.
    failed = [each for each in logged if each["event"] == "rejoin failed"]
    assert len(failed) == 2 if external else len(failed) > 2
    for part in token.split(".")[1:]:
        assert part not in outcome.detail + repr(logged)
