"""A session's place in a LiveKit room: join, publish, come back when the connection is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Literal, TypeAlias

import structlog
from livekit import rtc
from livekit.rtc._proto.room_pb2 import AudioEncoding

from app.rtc.company import ALONE_S, Company
from app.rtc.microphone import is_avatar
from app.rtc.refusal import JoinError, TokenRefused, refusal
from app.sessions.spec import EndReason
from engine.priority import going_along

log = structlog.get_logger(__name__)

LOST_AFTER_S = 30.0  # contract.md: rejoin with back-off for so long, then give up
CONNECT_TIMEOUT_S = 5.0
PLACE_S = 2.0  # after that a join waits for its server and costs nothing here
SETTLE_S = 3.0  # for a connection under way that nobody wants any more
SID_S = 0.05  # for what is known, or comes some other time
STREAM = "avatar"  # both tracks: lets rooms with sync_streams group them (livekit.md §2.6)

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
    ) -> None:
        self._url = url
        self._token = token
        self._renewable = renewable  # whether each attempt to join gets a new token
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

    async def join(self) -> None:
        """Connect and publish, video first. Raises JoinError; nothing stays behind then."""
        # Many joins at once time out one another (livekit.md, head).
        async with _place(self._joins):
            room, token = rtc.Room(), self._token()
            left: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
            self._listen(room, left)
            try:
                options = rtc.RoomOptions(auto_subscribe=False, connect_timeout=CONNECT_TIMEOUT_S)
                await _connect(room, room.connect(self._url, token, options))
                # From here on the room's first speaker may be heard, published or not.
                self._on_joined(room)
                await self._publish(room)
                going_along(MEDIA_THREADS)
            except (rtc.ConnectError, rtc.participant.PublishTrackError) as error:
                await _leave(room)
                raise refusal(str(error.message)) from None  # it repeats tokens and answers
            except BaseException:
                await _leave(room)
                raise
        self._room, self._left, self._lost_at = room, left, None
        self.company.returned(time.monotonic())
        self._on_presence(True)

    async def stay(self) -> EndReason:
        """Remain in the room until it ends for a reason of its own; rejoin when it is lost.

        Raises LiveKitLost after 30 s without a connection, and TokenRefused where LiveKit does not
        take the only token any more.
        """
        while True:
            reason = await self._until_left()
            await self.leave()
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

    async def _until_left(self) -> Reason:
        """The reason of the disconnect, or why to leave; raises when the SDK reconnects for too
        long."""
        while True:
            done, _ = await asyncio.wait({self._left}, timeout=1.0)
            if done:
                return self._left.result()
            if self._lost_at is not None and time.monotonic() - self._lost_at > LOST_AFTER_S:
                raise LiveKitLost(f"LiveKit did not come back within {LOST_AFTER_S:.0f} s.")
            if self._lost_at is None and await self._abandoned():
                log.info("nobody came back to a room that was made anew")
                return rtc.DisconnectReason.ROOM_DELETED

    async def _abandoned(self) -> bool:
        room = self._room
        if room is None:
            return False
        sid = None
        with contextlib.suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(SID_S):
                sid = await room.sid
        people = any(not is_avatar(each) for each in room.remote_participants.values())
        return self._lost_at is None and self.company.abandoned(people, sid, time.monotonic())

    async def _rejoin(self) -> None:
        lost_at = self._lost_at or time.monotonic()
        deadline = lost_at + LOST_AFTER_S
        pause = 0.25
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(remaining):
                    await self.join()
                    return
            except TimeoutError:
                break
            except JoinError as error:
                log.info("rejoin failed", error=str(error))
                if isinstance(error, TokenRefused) and not self._renewable:
                    raise
                self._lost_at = lost_at
            await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 2, 4.0)
        raise LiveKitLost(f"LiveKit could not be rejoined within {LOST_AFTER_S:.0f} s.")

    def _listen(self, room: rtc.Room, left: asyncio.Future[Reason]) -> None:
        def on_disconnected(reason: Reason) -> None:
            if not left.done():
                left.set_result(reason)

        def on_reconnecting() -> None:
            self._lost_at = self._lost_at or time.monotonic()

        def on_reconnected() -> None:
            self._lost_at = None
            self.company.returned(time.monotonic())

        room.on("disconnected", on_disconnected)
        room.on("reconnecting", on_reconnecting)
        room.on("reconnected", on_reconnected)

    async def _publish(self, room: rtc.Room) -> None:
        video, audio = self._tracks()
        # Neither waits for a subscriber, or an agent that waits for the video before it speaks
        # would wait for ever (livekit.md §1.5, flaw 1).
        participant = room.local_participant
        await participant.publish_track(video, self._video_options())
        await participant.publish_track(audio, _audio_options())

    def _video_options(self) -> rtc.TrackPublishOptions:
        """Explicit throughout: the defaults give a square picture 300 kbit/s and 20 fps (§2.5)."""
        codecs = {"h264": rtc.VideoCodec.H264, "vp8": rtc.VideoCodec.VP8}
        return rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=codecs[self._codec],
            video_encoding=rtc.VideoEncoding(max_bitrate=bit_rate(self._pixels), max_framerate=25),
            video_encoder=rtc.VideoEncoderBackend.ENCODER_BACKEND_SOFTWARE,
            simulcast=False,
            stream=STREAM,
            # A face is small enough to be sent whole or not at all.
            degradation_preference=rtc.DegradationPreference.MAINTAIN_FRAMERATE_AND_RESOLUTION.value,
        )


def bit_rate(pixels: int) -> int:
    """Bits a second: 1.5 M at 512 x 512, 2.5 M at 720p, 3.4 M at 1080p (livekit.md §2.5)."""
    return int(1_500_000 * (pixels / (512 * 512)) ** 0.4)


def _audio_options() -> rtc.TrackPublishOptions:
    return rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_MICROPHONE,
        # From some 64 kbit/s on Opus codes speech as it does music, at a third of the processor's
        # time that its speech coder takes (docs/benchmarks.md).
        audio_encoding=AudioEncoding(max_bitrate=72_000),
        dtx=False,  # else the first syllable after a pause may be clipped (livekit.md §2.4)
        red=True,
        stream=STREAM,
    )


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
