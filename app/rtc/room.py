"""A session's place in a LiveKit room: join, publish, come back when the connection is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Literal, TypeAlias

import structlog
from livekit import rtc

from app.rtc.company import ALONE_S, Company
from app.rtc.empty_room import EmptyRoomWatch, accompanied
from app.rtc.output.publishing import audio_options, video_options
from app.rtc.sdk.join_tokens import JoinTokens
from app.rtc.sdk.refusal import JoinError, TokenRefused, refusal
from app.session_types import EndReason
from engine import Backoff, priority

log = structlog.get_logger(__name__)

LOST_AFTER_S = 30.0  # contract.md: rejoin with back-off for so long, then give up
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0  # between attempts to rejoin
CONNECT_TIMEOUT_S = 5.0
PLACE_S = 2.0  # after that a join waits for its server and costs nothing here
SETTLE_S = 3.0  # for a connection under way that nobody wants any more
REOPEN_S = 10.0  # for the one attempt to join a room anew that was closed
SID_S = 0.05  # for what is known, or comes some other time

# Threads of LiveKit's library between our sound and the wire. Somebody else's work (or a whole
# utterance that arrives at once) holds them up otherwise, which viewers' jitter buffers answer by
# delaying everything that follows: docs/agents.md. The encoders go first by themselves.
MEDIA_THREADS = frozenset(
    {"livekit-audio", "tokio-rt-worker", "network_thread", "worker_thread 0", "signaling_threa"}
)

Reason: TypeAlias = rtc.DisconnectReason.ValueType

_ENDS = {
    rtc.DisconnectReason.DUPLICATE_IDENTITY: EndReason.SUPERSEDED,
    rtc.DisconnectReason.PARTICIPANT_REMOVED: EndReason.REMOVED,
    rtc.DisconnectReason.ROOM_DELETED: EndReason.ROOM_CLOSED,
    rtc.DisconnectReason.ROOM_CLOSED: EndReason.ROOM_CLOSED,
}


class LiveKitLost(Exception):
    """The room could not be rejoined in time."""


class AvatarRoom:
    """Joins with a token, publishes two tracks, and says how the stay ended.

    Resume and full reconnect are the SDK's own (livekit.md §2.1): the tracks live on or are
    published again by it. Only when it gives up is the room joined anew, with a fresh token.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        tracks: Callable[[], tuple[rtc.LocalVideoTrack, rtc.LocalAudioTrack]],
        joins: asyncio.Semaphore,
        *,
        codec: Literal["h264", "vp8"],
        pixels: int,
        on_joined: Callable[[rtc.Room], None],
        on_presence: Callable[[bool], None],
        renewable: bool = True,
        alone_s: float = ALONE_S,
        empty_s: float,
        encryption: rtc.E2EEOptions | None = None,
    ) -> None:
        self._url = url
        self._options = rtc.RoomOptions(
            auto_subscribe=False, connect_timeout=CONNECT_TIMEOUT_S, encryption=encryption
        )
        self._tokens = JoinTokens(token, renewable=renewable)
        self._tracks = tracks
        self._joins = joins
        self._codec = codec
        self._pixels = pixels
        self._on_joined = on_joined
        self._on_presence = on_presence  # whether tracks are published in the room
        self._room: rtc.Room | None = None
        self._left: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self._lost_at: float | None = None
        self.company = Company(alone_s)
        self._watch = EmptyRoomWatch(empty_s)  # how long the avatar may be there by itself

    async def join(self) -> None:
        """Connect and publish, video first. Raises JoinError; nothing stays behind then."""
        # Many joins at once time out one another (livekit.md, head).
        async with _place(self._joins):
            room, token = rtc.Room(), self._tokens.next()
            left: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
            self._listen(room, left)
            try:
                await _connect(room, room.connect(self._url, token, self._options))
                # From here on the room's first speaker may be heard, published or not.
                self._on_joined(room)
                await self._publish(room)
                priority.going_along(MEDIA_THREADS)
            except (rtc.ConnectError, rtc.participant.PublishTrackError) as error:
                await _leave(room)
                raise refusal(str(error.message)) from None  # it repeats tokens and answers
            except BaseException:
                await _leave(room)
                raise
        self._room, self._left, self._lost_at = room, left, None
        self._returned()
        self._on_presence(True)

    async def stay(self) -> EndReason:
        """Remain in the room until it ends for a reason of its own; rejoin when it is lost.

        Raises LiveKitLost after 30 s without a connection, and TokenRefused where LiveKit does not
        take the only token any more.
        """
        while True:
            reason = await self._until_left()
            await self.leave()
            if isinstance(reason, EndReason):
                return reason
            if reason == rtc.DisconnectReason.ROOM_CLOSED and await self._reopened():
                continue
            if reason in _ENDS:
                return _ENDS[reason]
            log.warning("room lost, joining again", reason=rtc.DisconnectReason.Name(reason))
            await self._rejoin()

    async def leave(self) -> None:
        """Leave if inside. Idempotent."""
        room, self._room = self._room, None
        self._on_presence(False)
        if room is not None:
            await _leave(room)

    async def simulate(self, scenario: rtc.SimulateScenarioKind.ValueType) -> None:
        """Make the SDK lose its connection, for tests of reconnecting."""
        if self._room is None:
            raise JoinError("not in a room")
        await self._room.simulate_scenario(scenario)

    async def _until_left(self) -> Reason | EndReason:
        """Why the SDK disconnected, or why to leave; raises when it reconnects for too long."""
        while True:
            done, _ = await asyncio.wait({self._left}, timeout=1.0)
            if done:
                return self._left.result()
            if self._lost_at is not None and time.monotonic() - self._lost_at > LOST_AFTER_S:
                raise LiveKitLost(f"LiveKit did not come back within {LOST_AFTER_S:.0f} s.")
            if self._lost_at is None and (over := await self._look_around()) is not None:
                return over

    async def _look_around(self) -> EndReason | None:
        """Why to leave a room that nobody is in."""
        room = self._room
        if room is None:
            return None
        sid = None
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(SID_S):
                sid = await room.sid
        if self._lost_at is not None:
            return None
        people, now = accompanied(room), time.monotonic()
        deserted = self._watch.deserted(people, now)
        if self.company.abandoned(people, sid, now):
            log.info("nobody came back to a room that was made anew")
            return EndReason.ROOM_CLOSED
        if deserted:
            log.info("the avatar was by itself for as long as its session allows")
            return EndReason.PARTICIPANT_LEFT
        return None

    def _returned(self) -> None:
        now = time.monotonic()
        self.company.returned(now)
        self._watch.connected(now)

    async def _reopened(self) -> bool:
        """Whether the room that LiveKit closed since nobody was in it has been made anew.

        How long it may be empty is for the session to say. A room that existed before keeps the
        timeouts that it was made with; the new one has ours, from our token. Not in other people's
        LiveKits, and not where an agent was there: what it waits for is its own affair.
        """
        if not self._tokens.renewable or self.company.accompanied:
            return False
        try:
            async with asyncio.timeout(REOPEN_S):
                await self.join()
        except (TimeoutError, JoinError) as error:
            log.info("LiveKit closed the empty room", error=str(error))
            return False
        log.info("LiveKit closed the empty room before the session's time was over; made it anew")
        return True

    async def _rejoin(self) -> None:
        lost_at = self._lost_at or time.monotonic()
        deadline = lost_at + LOST_AFTER_S
        pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(remaining):
                    await self.join()
                    return
            except TimeoutError:
                break
            except JoinError as error:
                log.info("rejoin failed", error=str(error))
                if isinstance(error, TokenRefused) and not self._tokens.another():
                    raise
                self._lost_at = lost_at
            await asyncio.sleep(min(pauses.next_s(), max(0.0, deadline - time.monotonic())))
        raise LiveKitLost(f"LiveKit could not be rejoined within {LOST_AFTER_S:.0f} s.")

    def _listen(self, room: rtc.Room, left: asyncio.Future[Reason]) -> None:
        def on_disconnected(reason: Reason) -> None:
            if not left.done():
                left.set_result(reason)

        def on_reconnecting() -> None:
            self._lost_at = self._lost_at or time.monotonic()

        def on_reconnected() -> None:
            self._lost_at = None
            self._returned()

        self._tokens.watch(room)
        room.on("disconnected", on_disconnected)
        room.on("reconnecting", on_reconnecting)
        room.on("reconnected", on_reconnected)

    async def _publish(self, room: rtc.Room) -> None:
        video, audio = self._tracks()
        # Neither waits for a subscriber, or an agent that waits for the video before it speaks
        # would wait for ever (livekit.md §1.5, flaw 1).
        participant = room.local_participant
        await participant.publish_track(video, video_options(self._codec, self._pixels))
        await participant.publish_track(audio, audio_options())


@contextlib.asynccontextmanager
async def _place(joins: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of the places to join, given back early by a join whose server does not answer.

    Sessions bring servers of their own: a few that hang must not keep all others waiting.
    """
    await joins.acquire()
    held = True

    def give_back() -> None:
        nonlocal held
        if held:
            held = False
            joins.release()

    timer = asyncio.get_running_loop().call_later(PLACE_S, give_back)
    try:
        yield
    finally:
        timer.cancel()
        give_back()


_unwanted: set[asyncio.Task[None]] = set()  # a task that nothing refers to may vanish


async def _connect(room: rtc.Room, connecting: Coroutine[Any, Any, None]) -> None:
    """Connect. Called off, let the SDK finish, and leave at once.

    A call that is merely cancelled goes on inside the SDK: an avatar stays in the room that nobody
    holds, and 10 s later the SDK ends the whole process, since nobody took the connection.
    """
    work = asyncio.create_task(connecting)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        settling = asyncio.create_task(_settle(room, work))
        _unwanted.add(settling)
        settling.add_done_callback(_unwanted.discard)
        await asyncio.wait({settling}, timeout=SETTLE_S)
        raise


async def _settle(room: rtc.Room, connecting: asyncio.Task[None]) -> None:
    await asyncio.gather(connecting, return_exceptions=True)
    await _leave(room)


async def _leave(room: rtc.Room) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3.0):
            await room.disconnect()
