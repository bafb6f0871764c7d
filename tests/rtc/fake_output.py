"""What plays speech, for tests of what it is given: it says at once what was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from app.rtc.output.playback_ledger import Finished, Started
from app.rtc.output.speech_in import Pcm
from app.rtc.output.timing import Timing


class FakeOutput:
    """In place of `AvOut`.

    Attributes:
        done: what was asked of it, in order: ("begin", rate), ("end", lost), ("clear",).
        heard: samples that were pushed.
    """

    def __init__(self, *_: object, **__: object) -> None:
        self.on_playback: Callable[[Started | Finished], None] = lambda _: None
        self.done: list[tuple[Any, ...]] = []
        self.heard = 0
        self.waiting_s = 0.0
        self.timing = Timing()
        self.accounts = SimpleNamespace(on_turn=None)
        self.closed = False
        self.shows = asyncio.Event()
        self.shows.set()
        self.fault: Exception | None = None
        self.faulty = asyncio.Event()
        self._number = 0
        self._open = False
        self._untold = False

    @property
    def speaking(self) -> bool:
        return self._untold

    def tracks(self) -> tuple[str, str]:
        return "video", "audio"

    async def run(self) -> None:
        await self.faulty.wait()
        if self.fault is not None:
            raise self.fault

    async def next_picture(self) -> None:
        await self.shows.wait()

    async def aclose(self) -> None:
        self.closed = True

    def begin_segment(self, rate: int, channels: int) -> int:
        self.end_segment()
        self._open = self._untold = True
        self._number += 1
        self.done.append(("begin", rate))
        return self._number

    def push(self, pcm: Pcm) -> None:
        assert pcm.dtype == np.int16
        self.heard += len(pcm)

    def end_segment(self, *, lost: bool = False) -> None:
        if self._open:
            self._open = False
            self.done.append(("end", lost))
            self._finish(interrupted=lost)

    def clear(self) -> None:
        self._open = False
        self.done.append(("clear",))
        if self._untold:
            self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        self._untold = False
        self.on_playback(Finished(self._number, 0.5, interrupted=interrupted))
