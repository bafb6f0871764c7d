"""A session's place in a LiveKit room: joins, publishes, and rejoins after a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Literal, TypeAlias

import structlog
from livekit import rtc

from app.rtc.empty_room import EmptyRoomWatch, accompanied
from app.rtc.output.publishing import audio_options, video_options
from app.rtc.recreated_room import ALONE_S, RecreatedRoomWatch
from app.rtc.sdk.join_tokens import JoinTokens
from app.rtc.sdk.refusal import JoinError, TokenRefused, refusal
from app.session_types import EndReason
from engine import Backoff, priority

log = structlog.get_logger(__name__)

LOST_AFTER_S = 30.0  # docs/api.md, "States": how long to rejoin with back-off before giving up
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0  # between attempts to rejoin
CONNECT_TIMEOUT_S = 5.0
PLACE_S = 2.0  # after this, a join only waits for its server and needs no place any more
SETTLE_S = 3.0  # for a cancelled connection attempt to finish
REOPEN_S = 10.0  # for the single attempt to rejoin a room that was closed
SID_S = 0.05  # for a sid that is known already; otherwise the next check asks again

# LiveKit's threads between our audio and the network. Other load, or a whole utterance that arrives
# at once, would hold them up, and viewers' jitter buffers then delay everything that follows
# (docs/lab/conformance.md, "Why a burst of speech delayed what followed"). The encoders already run
# at a higher priority.
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
    """Joins with a token, publishes two tracks, and reports how the stay ended.

    The SDK resumes and reconnects by itself (livekit.md §2.1); it keeps the tracks or publishes
    them again. Only when it gives up does this class rejoin, with a fresh token.
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
        self.recreated = RecreatedRoomWatch(alone_s)
        self._empty = EmptyRoomWatch(empty_s)

    async def join(self) -> None:
        """Connect and publish, video first. Raises JoinError after cleaning up."""
        # Concurrent joins make one another time out (livekit.md, head).
        async with _place(self._joins):
            room, token = rtc.Room(), self._tokens.next()
            left: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
            self._listen(room, left)
            try:
                await _connect(room, room.connect(self._url, token, self._options))
                # From here on the room's first speaker can be heard, whether we published or not.
                self._on_joined(room)
                await self._publish(room)
                priority.going_along(MEDIA_THREADS)
            except (rtc.ConnectError, rtc.participant.PublishTrackError) as error:
                await _leave(room)
                raise refusal(str(error.message)) from None  # its text repeats tokens and answers
            except BaseException:
                await _leave(room)
                raise
        self._room, self._left, self._lost_at = room, left, None
        self._returned()
        self._on_presence(True)

    async def stay(self) -> EndReason:
        """Stay until the room ends or a reason to leave arises; rejoin when the connection is lost.

        Raises LiveKitLost after 30 s without a connection, and TokenRefused if LiveKit no longer
        accepts the only token.
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
        """Leave the room, if in one. Idempotent."""
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
        """Why the SDK disconnected, or why to leave. Raises LiveKitLost."""
        while True:
            done, _ = await asyncio.wait({self._left}, timeout=1.0)
            if done:
                return self._left.result()
            if self._lost_at is not None and time.monotonic() - self._lost_at > LOST_AFTER_S:
                raise LiveKitLost(f"LiveKit did not come back within {LOST_AFTER_S:.0f} s.")
            if self._lost_at is None and (over := await self._check_company()) is not None:
                return over

    async def _check_company(self) -> EndReason | None:
        """A reason to leave a room that is empty."""
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
        deserted = self._empty.deserted(people, now)
        if self.recreated.abandoned(people, sid, now):
            log.info("nobody came back to the recreated room")
            return EndReason.ROOM_CLOSED
        if deserted:
            log.info("the avatar was alone for as long as its session allows")
            return EndReason.PARTICIPANT_LEFT
        return None

    def _returned(self) -> None:
        now = time.monotonic()
        self.recreated.returned(now)
        self._empty.connected(now)

    async def _reopened(self) -> bool:
        """Rejoin, and so recreate, a room that LiveKit closed because it was empty.

        The session decides how long its room may be empty. A room that existed before keeps the
        timeouts it was created with; the new one gets ours, from our token. This does not apply to
        a foreign LiveKit, nor after an agent was there, whose waiting is its own affair.
        """
        if not self._tokens.renewable or self.recreated.accompanied:
            return False
        try:
            async with asyncio.timeout(REOPEN_S):
                await self.join()
        except (TimeoutError, JoinError) as error:
            log.info("LiveKit closed the empty room", error=str(error))
            return False
        log.info("LiveKit closed the empty room before the session's time was over; recreated it")
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
        # Neither waits for a subscriber: an agent that waits for the video before it speaks would
        # otherwise wait forever (livekit.md §1.5, flaw 1).
        participant = room.local_participant
        await participant.publish_track(video, video_options(self._codec, self._pixels))
        await participant.publish_track(audio, audio_options())


@contextlib.asynccontextmanager
async def _place(joins: asyncio.Semaphore) -> AsyncIterator[None]:
    """A place for one join, released early if its server does not answer.

    Sessions choose their servers, so a few that hang must not keep all others waiting.
    """
    await joins.acquire()
    held = True

    def release() -> None:
        nonlocal held
        if held:
            held = False
            joins.release()

    timer = asyncio.get_running_loop().call_later(PLACE_S, release)
    try:
        yield
    finally:
        timer.cancel()
        release()


_settling: set[asyncio.Task[None]] = set()  # keeps references, or tasks might be collected


async def _connect(room: rtc.Room, connecting: Coroutine[Any, Any, None]) -> None:
    """Connect. If cancelled, let the SDK finish, then leave at once.

    A call that is merely cancelled continues inside the SDK: an orphaned avatar stays in the room,
    and 10 s later the SDK ends the whole process, since nobody took the connection.
    """
    work = asyncio.create_task(connecting)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        settling = asyncio.create_task(_settle(room, work))
        _settling.add(settling)
        settling.add_done_callback(_settling.discard)
        await asyncio.wait({settling}, timeout=SETTLE_S)
        raise


async def _settle(room: rtc.Room, connecting: asyncio.Task[None]) -> None:
    await asyncio.gather(connecting, return_exceptions=True)
    await _leave(room)


async def _leave(room: rtc.Room) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3.0):
            await room.disconnect()
