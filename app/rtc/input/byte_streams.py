"""Reassembles byte streams by sender.

LiveKit's library assembles a stream's packets by stream id alone, regardless of their sender, and
older SDKs reveal that id to the whole room. LiveKit itself names each packet's sender, so packets
are reassembled here: a chunk or trailer counts only if it comes from the participant, by identity
and sid, that sent the header.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable

import structlog
from livekit import rtc

from app.rtc.sdk import livekit_private
from app.rtc.sdk.livekit_private import ByteStreamOpened, Chunk, RoomEvent, Trailer

log = structlog.get_logger(__name__)

LARGEST = 2**27  # bytes of a stream that announces its size
QUIET_S = 0.2  # a stream without packets for this long is contained in its header


class ByteStream:
    """One stream; yields its chunks in order.

    Raises StreamError if it breaks off.
    """

    def __init__(
        self,
        attributes: dict[str, str],
        sid: str | None,
        size: int | None,
        forget: Callable[[], None],
    ) -> None:
        """`sid`: of the sender's connection, None until LiveKit announces it. `size`: in bytes, if
        the header states it. `forget` is called once nothing more can come."""
        self.attributes = attributes
        self.tampered = False  # another participant sent packets with its id
        self._sid = sid
        self._size = size
        self._forget = forget
        self._next = 0  # index of the next chunk
        self._pieces: deque[bytes] = deque()
        self._held: list[bytes] = []  # of a stream that is delivered whole
        self._held_bytes = 0
        self._news = asyncio.Event()
        self._over = False
        self._error: rtc.StreamError | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pieces.popleft()

    @property
    def touched(self) -> bool:
        """Whether any chunk has arrived."""
        return self._next > 0

    def close(self) -> None:
        """Nothing more of it is wanted. Idempotent."""
        """Discard the rest. Idempotent."""
        self._end()

    def break_off(self, why: str) -> None:
        """End the stream early; chunks that have arrived are still delivered."""
        if not self._over:
            self._error = rtc.StreamError(why)
            self._end()

    def is_from(self, sid: str | None) -> bool:
        """Whether a packet from this connection of the sender's identity belongs to the stream."""
        if self._sid is None:
            self._sid = sid
        return sid is None or sid == self._sid

    def take(self, chunk: Chunk) -> None:
        """Accept a chunk from the sender."""
        if self._over or chunk.chunk_index < self._next:  # repeated after a reconnect
            return
        if chunk.chunk_index > self._next:
            self.break_off("a piece is missing")
            return
        self._next += 1
        if self._size is not None:
            self._held.append(chunk.content)
            self._held_bytes += len(chunk.content)
            if self._held_bytes > min(self._size, LARGEST):
                self.break_off("it is larger than it said")
        elif chunk.content:
            self._pieces.append(chunk.content)
            self._news.set()

    def finish(self, trailer: Trailer) -> None:
        """Accept the sender's trailer, which may state why the stream is incomplete."""
        if trailer.reason:
            self.break_off(trailer.reason)
        elif self._size is None or self._over:
            self._end()
        else:
            self.whole(_unpacked(b"".join(self._held), self._size))

    def whole(self, content: bytes) -> None:
        """Deliver the whole content at once."""
        if self._over:
            return
        if len(content) != self._size:
            self.break_off("it is not as large as it said")
            return
        self._pieces.append(content)
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._held.clear()
            self._forget()
        self._news.set()


class ByteStreams:
    """The streams of one topic in a room; sees the room's events before the room does."""

    def __init__(
        self,
        room: rtc.Room,
        topic: str,
        on_stream: Callable[[ByteStream, str], None],
    ) -> None:
        """`on_stream` receives each stream and its sender's identity."""
        self._room = room
        self._topic = topic
        self._on_stream = on_stream
        self._open: dict[tuple[str, str], ByteStream] = {}  # by id and sender
        self._wholes: set[asyncio.Task[None]] = set()
        livekit_private.tap_room(room, self.take)
        # The library restarts its own count of chunks after this event.
        room.on("local_track_republished", lambda *_: self.break_off("connected anew"))
        room.on("disconnected", lambda _: self.break_off("disconnected"))
        room.on("participant_disconnected", lambda who: self._gone(who.identity))

    def take(self, event: RoomEvent) -> bool:
        """Handle a room event; returns whether to withhold it from the room."""
        kind = event.WhichOneof("message")
        if kind == "byte_stream_opened":
            if event.byte_stream_opened.reader.info.topic != self._topic:
                return False
            self._opened(event.byte_stream_opened)
        elif kind == "stream_chunk_received":
            chunk = event.stream_chunk_received.chunk
            stream = self._of(chunk.stream_id, event.stream_chunk_received.participant_identity)
            if stream is not None:
                stream.take(chunk)
        elif kind == "stream_trailer_received":
            trailer = event.stream_trailer_received.trailer
            stream = self._of(trailer.stream_id, event.stream_trailer_received.participant_identity)
            if stream is not None:
                stream.finish(trailer)
        else:
            return kind == "stream_header_received"  # repeated, with more detail, as opened
        return True

    def break_off(self, why: str) -> None:
        """Break off every open stream."""
        for stream in list(self._open.values()):
            stream.break_off(why)
        for task in self._wholes:  # the library may never report an end to them
            task.cancel()

    def _gone(self, identity: str) -> None:
        for (_, sender), stream in list(self._open.items()):
            if sender == identity:
                stream.break_off("its sender has left")

    def _opened(self, opened: ByteStreamOpened) -> None:
        info, sender = opened.reader.info, opened.participant_identity
        key = (info.stream_id, sender)
        if key in self._open:
            livekit_private.drop_handle(opened.reader.handle.id)
            return
        size = info.total_length if info.HasField("total_length") else None
        stream = ByteStream(
            dict(info.attributes), self._sid(sender), size, lambda: self._forget(key)
        )
        self._open[key] = stream
        self._on_stream(stream, sender)
        if size is None or key not in self._open:
            livekit_private.drop_handle(opened.reader.handle.id)
            return
        task = asyncio.create_task(_in_header_alone(rtc.ByteStreamReader(opened.reader), stream))
        self._wholes.add(task)
        task.add_done_callback(self._wholes.discard)

    def _forget(self, key: tuple[str, str]) -> None:
        self._open.pop(key, None)

    def _of(self, stream_id: str, sender: str) -> ByteStream | None:
        """The stream that a packet belongs to; None unless the packet comes from its sender."""
        stream = self._open.get((stream_id, sender))
        if stream is not None and stream.is_from(self._sid(sender)):
            return stream
        for (opened, owner), other in self._open.items():
            if opened == stream_id and not other.tampered:
                other.tampered = True
                log.warning(
                    "ignored packets from another sender in a byte stream",
                    owner=owner,
                    sender=sender,
                )
        return None

    def _sid(self, identity: str) -> str | None:
        who = self._room.remote_participants.get(identity)
        return who.sid if who is not None else None


async def _in_header_alone(reader: rtc.ByteStreamReader, stream: ByteStream) -> None:
    """Reads a small stream that may be contained in its header, which only the library parses.

    No packet follows such a header, so nobody else's packet can get into it.
    """
    content = b""
    try:
        async for piece in reader:
            content += piece
            if len(content) > LARGEST:
                return
    except rtc.StreamError:
        return
    finally:
        reader.close()
    await asyncio.sleep(QUIET_S)
    if not stream.touched and not stream.tampered:
        stream.whole(content)


def _unpacked(content: bytes, size: int) -> bytes:
    """Decompresses content if needed: SDKs may deflate what they send in one go."""
    if len(content) == size or size > LARGEST:
        return content
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    except zlib.error:
        return content
