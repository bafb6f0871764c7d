"""How a session ends and what it leaves, with an output that plays nothing, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

from app.rtc import session as session_module
from app.rtc.output.av_out import OutputConfig
from app.rtc.session import RoomSession, SessionResources
from app.session_types import AudioSpec, EndReason, FailureCode, Limits, Outcome, SessionSpec
from engine.core.engine_errors import PoolFull
from tests.rtc.fake_output import FakeOutput
from tests.rtc.fake_room import KIND, FakeLiveKit, FakeRoom, hangs, refuses
from tests.virtual_time import BEGIN, now, settle, virtual_time

REFUSED = "signal failure: client error: 401 Unauthorized"
SPEC = SessionSpec("ses_1", "room", "ada", "avatar", "ws://livekit", lambda: "token", BEGIN)
AGENT = AudioSpec("data_stream", agent="agent")


class EngineStream(SimpleNamespace):
    """A stream of the engine that paints nothing."""

    def __init__(self) -> None:
        super().__init__(closed=False, on_fault=lambda _: None)

    def close(self) -> None:
        self.closed = True


class Scene:
    """A session in the making: its LiveKit, its engine stream, its output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.livekit = FakeLiveKit(monkeypatch)
        self.stream = EngineStream()
        self.out = FakeOutput()
        self.ready_at: list[float] = []
        monkeypatch.setattr(session_module, "AvOut", lambda *_, **__: self.out)

    def begin(self, spec: SessionSpec = SPEC) -> tuple[RoomSession, asyncio.Task[Outcome]]:
        async def persona(_: SessionSpec) -> Any:
            return SimpleNamespace(width=512, height=512)

        pool: Any = SimpleNamespace(open_stream=lambda _: self.stream)
        stage = SessionResources(pool, persona, asyncio.Semaphore(4), OutputConfig(), "h264")
        session = RoomSession(spec, stage)
        return session, asyncio.create_task(session.run(self._ready))

    async def lives(self, spec: SessionSpec = SPEC) -> tuple[RoomSession, asyncio.Task[Outcome]]:
        session, running = self.begin(spec)
        await settle()
        assert self.ready_at == [0.0]
        return session, running

    async def _ready(self) -> None:
        self.ready_at.append(now())

    def nothing_stays(self) -> None:
        assert self.stream.closed
        assert self.out.closed
        assert not any(room.connected for room in self.livekit.rooms)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def limited(audio: AudioSpec = SPEC.audio, **limits: float) -> SessionSpec:
    return replace(SPEC, audio=audio, limits=Limits(**limits))


@virtual_time
async def test_the_first_reason_to_end_counts(scene: Scene) -> None:
    session, running = await scene.lives()
    session.stop(EndReason.DELETED)
    session.stop(EndReason.SHUTDOWN)
    scene.livekit.room.drops(rtc.DisconnectReason.PARTICIPANT_REMOVED)
    assert (await running).reason == EndReason.DELETED
    scene.nothing_stays()


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (rtc.DisconnectReason.DUPLICATE_IDENTITY, EndReason.SUPERSEDED),
        (rtc.DisconnectReason.PARTICIPANT_REMOVED, EndReason.REMOVED),
        (rtc.DisconnectReason.ROOM_DELETED, EndReason.ROOM_CLOSED),
    ],
)
@virtual_time
async def test_what_the_room_says_ends_it(
    scene: Scene, reason: rtc.DisconnectReason.ValueType, end: EndReason
) -> None:
    _, running = await scene.lives()
    scene.livekit.room.drops(reason)
    assert (await running).reason == end
    scene.nothing_stays()


@virtual_time
async def test_its_time_is_limited_from_ready_on(scene: Scene) -> None:
    _, running = await scene.lives(limited(max_duration_s=60, participant_left_timeout_s=1e4))
    assert (await running).reason == EndReason.MAX_DURATION
    assert 60 <= now() < 61


@virtual_time
async def test_an_agent_gone_for_longer_than_allowed_ends_it(scene: Scene) -> None:
    def with_two(room: FakeRoom) -> None:
        room.comes("agent")
        room.comes("ann")

    scene.livekit.script = [with_two]
    _, running = await scene.lives(limited(AGENT, participant_left_timeout_s=30))
    scene.livekit.room.goes("agent")
    await asyncio.sleep(29)
    scene.livekit.room.comes("agent")
    await asyncio.sleep(120)
    assert not running.done()
    left = now()
    scene.livekit.room.goes("agent")
    assert (await running).reason == EndReason.PARTICIPANT_LEFT
    assert 30 <= now() - left < 31
    scene.nothing_stays()


@virtual_time
async def test_a_followed_person_gone_ends_it_too(scene: Scene) -> None:
    def with_two(room: FakeRoom) -> None:
        room.publishes(room.comes("ann"))
        room.comes("bob")

    scene.livekit.script = [with_two]
    audio = AudioSpec(participant="ann")
    _, running = await scene.lives(limited(audio, participant_left_timeout_s=5))
    await asyncio.sleep(10)
    scene.livekit.room.goes("ann")
    assert (await running).reason == EndReason.PARTICIPANT_LEFT
    assert 15 <= now() < 16


@pytest.mark.parametrize("script", [hangs, refuses("connection timed out")])
@virtual_time
async def test_a_join_that_takes_too_long_fails_it(
    scene: Scene, script: Callable[[FakeRoom], None]
) -> None:
    scene.livekit.script = [script]
    _, running = scene.begin(limited(join_timeout_s=15))
    outcome = await running
    assert outcome.reason == FailureCode.JOIN_TIMEOUT
    assert "not live within 15 s" in outcome.detail
    assert 15 <= now() <= 19
    scene.nothing_stays()


@virtual_time
async def test_joining_is_tried_again_until_it_works(scene: Scene) -> None:
    scene.livekit.script = [*[refuses()] * 3, lambda _: None]
    session, _ = scene.begin()
    await asyncio.sleep(2)
    assert scene.ready_at == pytest.approx([0.75])
    session.stop(EndReason.DELETED)


@virtual_time
async def test_time_that_the_request_waited_counts(scene: Scene) -> None:
    scene.livekit.script = [hangs]
    _, running = scene.begin(replace(limited(join_timeout_s=15), waited_s=10))
    assert (await running).reason == FailureCode.JOIN_TIMEOUT
    assert 5 <= now() <= 9


@pytest.mark.parametrize(("external", "remedy"), [(True, "new token"), (False, "LIVEKIT_API_KEY")])
@virtual_time
async def test_a_refused_token_fails_it_at_once(scene: Scene, external: bool, remedy: str) -> None:
    scene.livekit.script = [refuses(REFUSED)]
    _, running = scene.begin(replace(SPEC, external=external))
    outcome = await running
    assert outcome.reason == FailureCode.LIVEKIT_TOKEN_REJECTED
    assert remedy in outcome.detail
    assert now() < 1
    scene.nothing_stays()


@virtual_time
async def test_a_livekit_that_does_not_come_back_fails_it(scene: Scene) -> None:
    scene.livekit.script = [lambda _: None, refuses()]
    _, running = await scene.lives()
    scene.livekit.room.drops(rtc.DisconnectReason.SIGNAL_CLOSE)
    assert (await running).reason == FailureCode.LIVEKIT_LOST
    assert 30 <= now() < 31
    scene.nothing_stays()


@virtual_time
async def test_a_fault_of_the_engine_fails_it(scene: Scene) -> None:
    _, running = await scene.lives()
    scene.stream.on_fault("The device is gone.")
    assert await running == Outcome(FailureCode.ENGINE_ERROR, "The device is gone.")
    scene.nothing_stays()


@virtual_time
async def test_a_fault_of_ours_fails_it_without_its_words(scene: Scene) -> None:
    _, running = await scene.lives()
    scene.out.fault = RuntimeError("a secret")
    scene.out.faulty.set()
    outcome = await running
    assert outcome.reason == FailureCode.INTERNAL
    assert "secret" not in outcome.detail
    scene.nothing_stays()


@virtual_time
async def test_a_full_engine_is_told_as_such(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise PoolFull("No place is left.")

    session, running = scene.begin()
    monkeypatch.setattr(session._resources.pool, "open_stream", full)
    assert (await running).reason == FailureCode.CAPACITY_EXHAUSTED


@virtual_time
async def test_it_is_ready_once_a_picture_was_shown(scene: Scene) -> None:
    scene.out.shows.clear()
    session, running = scene.begin()
    await asyncio.sleep(3)
    assert scene.ready_at == []
    scene.out.shows.set()
    await settle()
    assert scene.ready_at == pytest.approx([3.0])
    assert (await session.stats())["time_to_first_frame_ms"] == pytest.approx(3000.0)
    session.stop(EndReason.DELETED)
    await running


@virtual_time
async def test_an_interruption_after_the_end_does_nothing(scene: Scene) -> None:
    def with_agent(room: FakeRoom) -> None:
        room.comes("agent", kind=KIND.PARTICIPANT_KIND_AGENT)

    scene.livekit.script = [with_agent]
    session, running = await scene.lives(replace(SPEC, audio=AGENT))
    session.interrupt()
    session.stop(EndReason.DELETED)
    asked = len(scene.out.done)
    session.interrupt()
    await running
    session.interrupt()
    assert scene.out.done[asked:] == [("clear",)]  # of the leave-taking alone
    scene.nothing_stays()
