"""Everything this service uses of the `livekit` package beyond its public interface.

The package hides the sender of a byte stream's packets, and notifies every room of the process of
each captured audio frame. So the service uses its lower layer, which may change in any release; all
that is used is checked when this module is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

from livekit import rtc

SUPPORTED = (1, 1, 21), (1, 3)  # from, and below; pyproject.toml says the same


class UnsupportedLiveKit(ImportError):
    """The installed `livekit` package does not fit this service."""


def _installed() -> str:
    try:
        return version("livekit")
    except PackageNotFoundError:
        return "of unknown version"


def _unsupported(why: str) -> UnsupportedLiveKit:
    # Not at the top: a process that is ending imports this module (exit.py), not engine.
    from engine import remedies

    oldest, newest = (".".join(map(str, each)) for each in SUPPORTED)
    wanted = f"livekit>={oldest},<{newest}"
    return UnsupportedLiveKit(
        f"livekit {_installed()} is installed, but this voipavatar needs livekit "
        f">={oldest},<{newest} ({why}). "
        f"Install that with: {remedies.reinstall(wanted)}"
    )


def _check_version(installed: str) -> None:
    numbers = tuple(int(part) for part in installed.split(".")[:3] if part.isdecimal())
    oldest, newest = SUPPORTED
    if not oldest <= numbers < newest:
        raise _unsupported("another version")


def _check_names(events: Any) -> None:
    """Raises UnsupportedLiveKit if a field or method is missing."""
    for message, fields in (
        (events.FfiEvent, ("capture_audio_frame", "room_event")),
        (events.FfiRequest, ("capture_audio_frame", "dispose")),
        (room_pb2.RoomEvent, ("byte_stream_opened", *STREAM_PACKETS)),
        (room_pb2.ByteStreamOpened, ("participant_identity", "reader")),
        (room_pb2.DataStreamChunkReceived, ("participant_identity", "chunk")),
        (room_pb2.DataStreamTrailerReceived, ("participant_identity", "trailer")),
    ):
        for name in fields:
            if name not in message.DESCRIPTOR.fields_by_name:
                raise _unsupported(f"{message.DESCRIPTOR.name} has no {name}")
    for owner, names in (
        (rtc.Room, ("_on_room_event",)),
        (_ffi_client.FfiClient, ("instance", "_instance", "queue", "request")),
        (_ffi_client.FfiQueue, ("put", "subscribe", "unsubscribe")),
        (_ffi_client.FfiHandle, ("dispose",)),
    ):
        for name in names:
            if not hasattr(owner, name):
                raise _unsupported(f"{owner.__name__} has no {name}")
    if "_token" not in rtc.Room.__init__.__code__.co_names:
        raise _unsupported("Room has no _token")


STREAM_PACKETS = ("stream_header_received", "stream_chunk_received", "stream_trailer_received")

_check_version(_installed())
try:
    from livekit.rtc import _ffi_client
    from livekit.rtc._proto import ffi_pb2, room_pb2
    from livekit.rtc._proto.room_pb2 import AudioEncoding
except ImportError as error:
    raise _unsupported(str(error)) from error
_check_names(ffi_pb2)

FfiEvent: TypeAlias = ffi_pb2.FfiEvent
FfiRequest: TypeAlias = ffi_pb2.FfiRequest
RoomEvent: TypeAlias = room_pb2.RoomEvent
ByteStreamOpened: TypeAlias = room_pb2.ByteStreamOpened
Chunk: TypeAlias = room_pb2.DataStream.Chunk
Trailer: TypeAlias = room_pb2.DataStream.Trailer
__all__ = ["AudioEncoding"]  # and what is defined here


def library_started() -> bool:
    """Whether LiveKit's library runs in this process and was not only imported."""
    return _ffi_client.FfiClient._instance is not None


def request(wanted: FfiRequest) -> Any:
    """Call the library; returns at once."""
    return _ffi_client.FfiClient.instance.request(wanted)


def event_queue() -> Any:
    """The library calls its `put` with each event, on its own threads."""
    return _ffi_client.FfiClient.instance.queue


def capture_request(source: rtc.AudioSource, address: int, samples: int) -> FfiRequest | None:
    """A request to capture mono int16 audio at an address; None if the source is closed."""
    handle = source._ffi_handle
    if handle.disposed:
        return None
    wanted = FfiRequest()
    wanted.capture_audio_frame.source_handle = handle.handle
    buffer = wanted.capture_audio_frame.buffer
    buffer.data_ptr = address
    buffer.sample_rate, buffer.num_channels = source.sample_rate, 1
    buffer.samples_per_channel = samples
    return wanted


def tap_room(room: rtc.Room, take: Callable[[RoomEvent], bool]) -> None:
    """Call `take` with each event of a room before the room gets it, in order; the room does not
    get events for which it returns True."""
    known = room._on_room_event

    def on_event(event: RoomEvent) -> None:
        if not take(event):
            known(event)

    room._on_room_event = on_event  # type: ignore[method-assign]


def token_of(room: rtc.Room) -> str | None:
    """The token that LiveKit accepts for rejoining this room: the join's, or the newest that
    LiveKit has sent since."""
    return room._token


def drop_handle(handle: int) -> None:
    """Release an object that the library holds for this process."""
    _ffi_client.FfiHandle(handle).dispose()
