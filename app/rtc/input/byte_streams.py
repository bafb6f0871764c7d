"""Byte streams as their own senders sent them.

LiveKit's library joins the packets of a stream by the stream's id alone, whoever sent them; with
older SDKs the whole room learns that id. LiveKit itself names the sender of each packet, so the
packets are joined here: a piece or an end counts only from the participant, by identity and sid,
that sent the header.
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

LARGEST = 2**27  # bytes of a stream that says its size at the beginning
QUIET_S = 0.2  # for packets that would show a stream not to be in its header alone


class ByteStream:
    """One stream: gives its pieces in order.

    Raises StreamError where it has broken off.
    """

    def __init__(
        self,
        attributes: dict[str, str],
        sid: str | None,
        size: int | None,
        forget: Callable[[], None],
    ) -> None:
        """`sid`: of the sender's connection, None while LiveKit has not told of it. `size`: in
        bytes, where the header says it. `forget` is called once nothing more will come."""
        self.attributes = attributes
        self.tampered = False  # others have sent packets under its id
        self._sid = sid
        self._size = size
        self._forget = forget
        self._next = 0  # the index of the piece that comes next
        self._pieces: deque[bytes] = deque()
        self._held: list[bytes] = []  # of a stream that is given out whole
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
        """A piece has come."""
        return self._next > 0

    def close(self) -> None:
        """Nothing more of it is wanted. Idempotent."""
        self._pieces.clear()
        self._end()

    def break_off(self, why: str) -> None:
        """No more will come. What has come is still given out."""
        if not self._over:
            self._error = rtc.StreamError(why)
            self._end()

    def is_from(self, sid: str | None) -> bool:
        """Whether a packet that comes over this connection of the sender's identity is its own."""
        if self._sid is None:
            self._sid = sid
        return sid is None or sid == self._sid

    def take(self, chunk: Chunk) -> None:
        """A piece from its sender."""
        if self._over or chunk.chunk_index < self._next:  # sent again after a reconnect
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
        """Its sender says that it is complete, or why not."""
        if trailer.reason:
            self.break_off(trailer.reason)
        elif self._size is None or self._over:
            self._end()
        else:
            self.whole(_unpacked(b"".join(self._held), self._size))

    def whole(self, content: bytes) -> None:
        """All of it, at once."""
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
    """Those of one topic in a room, to be given its events before the room gets them."""

    def __init__(
        self,
        room: rtc.Room,
        topic: str,
        on_stream: Callable[[ByteStream, str], None],
    ) -> None:
        """`on_stream` gets each stream and its sender's identity."""
        self._room = room
        self._topic = topic
        self._on_stream = on_stream
        self._open: dict[tuple[str, str], ByteStream] = {}  # by id and sender
        self._wholes: set[asyncio.Task[None]] = set()
        livekit_private.tap_room(room, self.take)
        # After that the library's own count of a stream's pieces begins anew.
        room.on("local_track_republished", lambda *_: self.break_off("connected anew"))
        room.on("disconnected", lambda _: self.break_off("disconnected"))
        room.on("participant_disconnected", lambda who: self._gone(who.identity))

    def take(self, event: RoomEvent) -> bool:
        """An event of the room. Whether nobody else is to get it."""
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
            return kind == "stream_header_received"  # told again, with more, as opened
        return True

    def break_off(self, why: str) -> None:
        """Of none that is open more will come."""
        for stream in list(self._open.values()):
            stream.break_off(why)
        for task in self._wholes:  # the library may never tell them of an end
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
        """The stream that a packet belongs to; None if it is no sender's own."""
        stream = self._open.get((stream_id, sender))
        if stream is not None and stream.is_from(self._sid(sender)):
            return stream
        for (opened, owner), other in self._open.items():
            if opened == stream_id and not other.tampered:
                other.tampered = True
                log.warning(
                    "packets of somebody else in a byte stream, left out",
                    owner=owner,
                    sender=sender,
                )
        return None

    def _sid(self, identity: str) -> str | None:
        who = self._room.remote_participants.get(identity)
        return who.sid if who is not None else None


async def _in_header_alone(reader: rtc.ByteStreamReader, stream: ByteStream) -> None:
    """A small stream that says its size may be all in its header, which only the library reads.

    Then no packet of it follows, from anybody, that could be somebody else's.
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
    """As the sender had it: SDKs may pack (raw deflate) what they send in one go."""
    if len(content) == size or size > LARGEST:
        return content
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    except zlib.error:
        return content
