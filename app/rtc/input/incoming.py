"""Reads an agent's byte streams as they arrive. LiveKit's library would keep unread data without
limit, and cannot ask a sender to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

MOST_BYTES = 2**27  # ten minutes at 48 kHz in stereo; other forms have more bytes a second


class TooMuch(Exception):
    """Too much speech is waiting; the rest of this stream is discarded."""


class Pieces(Protocol):
    """A byte stream, such as `ByteStream`."""

    attributes: dict[str, str]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class Backlog:
    """Speech that has arrived and not been taken yet, over all streams of an agent."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.size = 0  # bytes


class IncomingStream:
    """Buffers one byte stream and yields its chunks in order.

    Attributes:
        form: rate and channels; None if the header does not state them, and nothing is kept.
    """

    def __init__(self, reader: Pieces, backlog: Backlog, most_s: float) -> None:
        """`most_s`: limit of the backlog in seconds, including this stream."""
        self._reader = reader
        self._backlog = backlog
        self._most_s = most_s
        self.attributes = reader.attributes
        self.form = audio_form(self.attributes)
        self._pieces: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._over = False  # nothing more will arrive
        self._error: Exception | None = None
        if self.form is None:
            self.close()
            return
        self._bytes_a_second = 2 * self.form[0] * self.form[1]
        self._reading = asyncio.create_task(self._read())

    async def __anext__(self) -> bytes:
        """The next chunk, as soon as it arrives.

        Raises StopAsyncIteration at the proper end or once closed, TooMuch, and StreamError if the
        end never came.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        piece = self._pieces.popleft()
        self._account(-len(piece))
        return piece

    def close(self) -> None:
        """Discard the rest. Idempotent."""
        self._drop()
        self._reader.close()  # which ends the reading, too
        self._over = True
        self._news.set()

    async def _read(self) -> None:
        try:
            async for piece in self._reader:
                if self._over:
                    return
                self._keep(piece)
                # A stream that arrived whole would otherwise never yield to the output's clock.
                await asyncio.sleep(0)
        except Exception as error:  # raised again to the reader
            self._error = error
        finally:
            self._over = True
            self._news.set()

    def _keep(self, piece: bytes) -> None:
        """Raises TooMuch."""
        self._account(len(piece))
        self._pieces.append(piece)
        if self._backlog.seconds > self._most_s or self._backlog.size > MOST_BYTES:
            self.close()
            raise TooMuch(f"more than {self._most_s:g} s or {MOST_BYTES >> 20} MiB wait to be said")
        self._news.set()

    def _drop(self) -> None:
        self._account(-sum(map(len, self._pieces)))
        self._pieces.clear()

    def _account(self, size: int) -> None:
        if size:
            self._backlog.size += size
            self._backlog.seconds += size / self._bytes_a_second


def audio_form(attributes: dict[str, str] | None) -> tuple[int, int] | None:
    """Rate and channels from a stream's header; None unless both are present and plausible."""
    found = attributes or {}
    with contextlib.suppress(KeyError, ValueError):
        rate, channels = int(found["sample_rate"]), int(found["num_channels"])
        if 4_000 <= rate <= 192_000 and 1 <= channels <= 8:
            return rate, channels
    return None
