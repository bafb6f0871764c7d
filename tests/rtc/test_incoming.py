"""How much of an agent's speech is kept until it can be said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from app.rtc.input import incoming
from app.rtc.input.incoming import Backlog, IncomingStream, TooMuch

SECOND = bytes(2 * 48_000)
MONO = {"sample_rate": "48000", "num_channels": "1"}


class Reader:
    """A byte stream whose pieces have all come."""

    def __init__(self, pieces: list[bytes], attributes: dict[str, str]) -> None:
        self.attributes = attributes
        self._pieces: Iterator[bytes] = iter(pieces)
        self.closed = False

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None

    def close(self) -> None:
        self.closed = True


def stream(
    pieces: list[bytes], backlog: Backlog, attributes: dict[str, str] = MONO
) -> tuple[IncomingStream, Reader]:
    reader = Reader(pieces, attributes)
    return IncomingStream(reader, backlog, most_s=10), reader


async def come(reader: Reader) -> None:
    """Let what is there be read."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_was_taken_waits_no_more() -> None:
    backlog = Backlog()
    speech, reader = stream([SECOND] * 3, backlog)
    await come(reader)
    assert (round(backlog.seconds), backlog.size) == (3, 3 * len(SECOND))
    assert await anext(speech) == SECOND
    assert (round(backlog.seconds), backlog.size) == (2, 2 * len(SECOND))
    speech.close()
    assert (round(backlog.seconds, 6), backlog.size) == (0, 0)
    with pytest.raises(StopAsyncIteration):
        await anext(speech)


async def test_a_stream_that_brings_more_than_is_kept_is_given_up() -> None:
    backlog = Backlog()
    first, earlier = stream([SECOND] * 8, backlog)
    await come(earlier)
    second, reader = stream([SECOND] * 3, backlog)
    await come(reader)
    with pytest.raises(TooMuch):
        await anext(second)
    assert reader.closed
    assert round(backlog.seconds) == 8  # the first one is all there
    assert await anext(first) == SECOND


async def test_so_is_one_of_a_form_with_many_bytes_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incoming, "MOST_BYTES", 3 * len(SECOND))
    backlog = Backlog()
    wide = {"sample_rate": "192000", "num_channels": "8"}
    speech, reader = stream([SECOND] * 4, backlog, wide)
    await come(reader)
    with pytest.raises(TooMuch):
        await anext(speech)
    assert backlog.size == 0


async def test_nothing_is_kept_of_a_form_that_is_unknown() -> None:
    backlog = Backlog()
    speech, reader = stream([SECOND], backlog, {"sample_rate": "many"})
    assert speech.form is None
    assert reader.closed
    assert backlog.size == 0
