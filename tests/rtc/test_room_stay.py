"""How a stay in a room ends, and when a lost one is joined again: minutes of waiting, virtually."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from livekit import rtc

from app.rtc.room import AvatarRoom, LiveKitLost
from app.rtc.sdk.refusal import JoinError, TokenRefused
from app.session_types import EndReason
from tests.rtc.fake_room import FakeLiveKit, FakeRoom, hangs, refuses
from tests.virtual_time import now, settle, virtual_time

GONE = rtc.DisconnectReason.SIGNAL_CLOSE
REFUSED = "signal failure: client error: 401 Unauthorized"


class Place:
    """An avatar's room on a fake LiveKit."""

    def __init__(self, livekit: FakeLiveKit) -> None:
        self.livekit = livekit
        self.present: list[bool] = []
        self.tokens = 0

    def avatar(self, **more: Any) -> AvatarRoom:
        tracks: Any = ("video", "audio")
        settings: dict[str, Any] = {"empty_s": 1e6, **more}
        return AvatarRoom(
            "ws://livekit",
            self._token,
            lambda: tracks,
            asyncio.Semaphore(4),
            codec="h264",
            pixels=512 * 512,
            on_joined=lambda _: None,
            on_presence=self.present.append,
            **settings,
        )

    def _token(self) -> str:
        self.tokens += 1
        return f"token {self.tokens}"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(FakeLiveKit(monkeypatch))


async def stay_in(avatar: AvatarRoom) -> asyncio.Task[EndReason]:
    await avatar.join()
    staying = asyncio.create_task(avatar.stay())
    await settle()
    return staying


@virtual_time
async def test_video_is_published_before_audio(place: Place) -> None:
    await place.avatar().join()
    assert place.livekit.room.local_participant.published == ["video", "audio"]
    assert place.present == [True]


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (rtc.DisconnectReason.DUPLICATE_IDENTITY, EndReason.SUPERSEDED),
        (rtc.DisconnectReason.PARTICIPANT_REMOVED, EndReason.REMOVED),
        (rtc.DisconnectReason.ROOM_DELETED, EndReason.ROOM_CLOSED),
    ],
)
@virtual_time
async def test_reasons_that_end_a_stay(
    place: Place, reason: rtc.DisconnectReason.ValueType, end: EndReason
) -> None:
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(reason)
    assert await staying == end
    assert len(place.livekit.rooms) == 1
    assert place.present == [True, False]


@virtual_time
async def test_a_lost_room_is_joined_again_at_once_with_a_new_token(place: Place) -> None:
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(GONE)
    await settle()
    assert [room.token for room in place.livekit.rooms] == ["token 1", "token 2"]
    assert place.present == [True, False, True]
    place.livekit.room.drops(rtc.DisconnectReason.PARTICIPANT_REMOVED)
    assert await staying == EndReason.REMOVED


@virtual_time
async def test_attempts_back_off_and_end_after_30_s(place: Place) -> None:
    place.livekit.script = [lambda _: None, refuses()]
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(GONE)
    with pytest.raises(LiveKitLost):
        await staying
    assert now() == pytest.approx(30.0, abs=1e-6)
    attempts = place.livekit.joined_at[1:]
    pauses = [later - earlier for earlier, later in pairwise(attempts)]
    assert pauses[:6] == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 4.0])
    assert max(pauses) == pytest.approx(4.0)


@virtual_time
async def test_a_server_that_never_answers_ends_it_after_30_s(place: Place) -> None:
    place.livekit.script = [lambda _: None, hangs]
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(GONE)
    with pytest.raises(LiveKitLost):
        await staying
    assert 30.0 <= now() <= 34.0  # and the time that the library gets to settle


@virtual_time
async def test_back_before_the_30_s_are_over_the_next_loss_has_30_s_again(place: Place) -> None:
    place.livekit.script = [lambda _: None, *[refuses()] * 5, lambda _: None, refuses()]
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(GONE)
    await asyncio.sleep(20)
    assert place.livekit.room.connected
    place.livekit.room.drops(GONE)
    with pytest.raises(LiveKitLost):
        await staying
    assert now() == pytest.approx(50.0, abs=1e-6)


@virtual_time
async def test_the_librarys_own_reconnecting_counts_into_the_30_s(place: Place) -> None:
    place.livekit.script = [lambda _: None, refuses()]
    staying = await stay_in(place.avatar())
    place.livekit.room.emit("reconnecting")
    await asyncio.sleep(12)
    place.livekit.room.drops(GONE)
    with pytest.raises(LiveKitLost):
        await staying
    assert now() == pytest.approx(30.0, abs=1e-6)


@virtual_time
async def test_reconnecting_that_never_ends_is_given_up(place: Place) -> None:
    staying = await stay_in(place.avatar())
    place.livekit.room.emit("reconnecting")
    with pytest.raises(LiveKitLost):
        await staying
    assert 30.0 < now() <= 32.0


@virtual_time
async def test_reconnected_in_time_nothing_happens(place: Place) -> None:
    staying = await stay_in(place.avatar())
    for _ in range(5):
        place.livekit.room.emit("reconnecting")
        await asyncio.sleep(20)
        place.livekit.room.emit("reconnected")
        await asyncio.sleep(1)
    assert not staying.done()
    assert len(place.livekit.rooms) == 1
    staying.cancel()


@virtual_time
async def test_a_callers_only_token_that_is_refused_ends_it_at_once(place: Place) -> None:
    place.livekit.script = [lambda _: None, refuses(REFUSED)]
    staying = await stay_in(place.avatar(renewable=False))
    place.livekit.room.drops(GONE)
    with pytest.raises(TokenRefused):
        await staying
    assert len(place.livekit.rooms) == 2


@virtual_time
async def test_of_our_own_tokens_another_is_tried(place: Place) -> None:
    place.livekit.script = [lambda _: None, refuses(REFUSED), refuses(REFUSED), lambda _: None]
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(GONE)
    await asyncio.sleep(2)
    assert place.livekit.room.token == "token 4"
    assert place.livekit.room.connected
    staying.cancel()


def mute(room: FakeRoom) -> None:
    room.local_participant.publish_error = rtc.participant.PublishTrackError("timed out")


@pytest.mark.parametrize("script", [refuses(), mute])
@virtual_time
async def test_a_join_that_fails_leaves_nothing(
    place: Place, script: Callable[[FakeRoom], None]
) -> None:
    place.livekit.script = [script]
    with pytest.raises(JoinError):
        await place.avatar().join()
    assert not place.livekit.room.connected
    assert place.present == []


@virtual_time
async def test_a_room_closed_while_empty_is_made_anew_once(place: Place) -> None:
    place.livekit.script = [lambda _: None, lambda _: None, refuses()]
    staying = await stay_in(place.avatar())
    place.livekit.room.drops(rtc.DisconnectReason.ROOM_CLOSED)
    await settle()
    assert place.livekit.room.connected
    place.livekit.room.drops(rtc.DisconnectReason.ROOM_CLOSED)
    assert await staying == EndReason.ROOM_CLOSED


@virtual_time
async def test_a_room_closed_under_people_is_over(place: Place) -> None:
    staying = await stay_in(place.avatar())
    place.livekit.room.comes("ann")
    await asyncio.sleep(2)  # it was seen that she is there
    place.livekit.room.drops(rtc.DisconnectReason.ROOM_CLOSED)
    assert await staying == EndReason.ROOM_CLOSED


@virtual_time
async def test_an_avatar_by_itself_leaves_when_its_time_is_over(place: Place) -> None:
    staying = await stay_in(place.avatar(empty_s=30.0))
    await asyncio.sleep(10)
    person = place.livekit.room.comes("ann")
    await asyncio.sleep(100)
    assert not staying.done()
    place.livekit.room.goes(person.identity)
    left = now()
    assert await staying == EndReason.PARTICIPANT_LEFT
    assert 30.0 <= now() - left <= 33.0


@virtual_time
async def test_a_hanging_join_gives_its_place_to_others(place: Place) -> None:
    place.livekit.script = [*[hangs] * 4, lambda _: None]
    places = asyncio.Semaphore(4)
    avatars = [place.avatar() for _ in range(5)]
    for avatar in avatars:
        avatar._joins = places
    hanging = [asyncio.create_task(avatar.join()) for avatar in avatars[:4]]
    await settle()
    await avatars[4].join()
    assert now() == pytest.approx(2.0)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
