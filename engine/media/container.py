"""Opens untrusted media files, and explains what is wrong with them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.container
import cv2

from engine.core.cores import thread_limit
from engine.core.engine_errors import EngineError
from engine.core.shortage import blame
from engine.media.header_limits import MAX_FRAMES, MAX_PIXELS, OPTIONS, declared_size


class MediaError(EngineError):
    """A file cannot be read as the expected kind of media."""


ODD = (ValueError, ArithmeticError, MemoryError, RuntimeError, cv2.error)
"""Other errors that reading a damaged file may raise."""


@contextmanager
def opened(path: Path, what: str) -> Iterator[av.container.InputContainer]:
    """Opens a file; errors of the library become a MediaError with one sentence."""
    if not path.is_file():
        raise MediaError(f"The {what} {path} does not exist.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path.name} is empty (0 bytes), not {_article(what)}.")
    try:
        if what == "video" and (declared := declared_size(path)) is not None:
            check_size(path, *declared)
        with av.open(str(path), options=dict(OPTIONS)) as container:
            for stream in filter(_known, container.streams.video):
                stream.codec_context.thread_count = thread_limit()
            yield container
    except (OSError, av.FFmpegError, *ODD) as error:
        reason = reason_of_library(error)
        unreadable = MediaError(f"{path.name} cannot be read as {_article(what)}: {reason}.")
        raise fault_of(path, error, unreadable) from error


def _known(stream: av.VideoStream | av.AudioStream) -> bool:
    """Whether a stream can be decoded: its codec may be unknown, whatever its type says."""
    return getattr(stream, "codec_context", None) is not None


def require_known(path: Path, stream: av.VideoStream | av.AudioStream) -> None:
    if not _known(stream):
        raise MediaError(f"{path.name} is coded in a way that is not known here.")


def fault_of(path: Path, error: Exception, damaged: MediaError) -> EngineError:
    """The machine's shortage, or the fault of the file.

    A damaged file can also fail with EIO or ENOMEM, by asking for impossible reads or sizes.
    """
    if isinstance(error, av.FFmpegError) and error.errno in (errno.EIO, errno.ENOMEM):
        try:
            with path.open("rb") as file:
                while file.read(1 << 20):
                    pass
        except OSError as unreadable:
            return blame(unreadable, damaged)
        return damaged
    return blame(error, damaged)


def reason_of_library(error: Exception) -> str:
    """The library's reason, on one line."""
    told = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(told).splitlines()[0].rstrip(".")


def _article(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


def check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{path.name} is too large: {width}x{height} pixels, of which there may be "
            f"{MAX_PIXELS // 1_000_000} million. Make it smaller."
        )


def check_count(path: Path, frames: int) -> None:
    if frames > MAX_FRAMES:
        raise MediaError(
            f"{path.name} is too long: it has {frames} frames, of which there may be "
            f"{MAX_FRAMES}. Cut it."
        )
