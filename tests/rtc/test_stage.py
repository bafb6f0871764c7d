"""What sessions share: a burst of them admits its persona one at a time."""

import asyncio
import threading
import time
from typing import Any

from app.rtc.resources import _loader
from app.session_types import SessionSpec


class Catalogue:
    async def load(self, name: str, *_: Any, caller: str) -> str:
        return name


class Pool:
    """Notes how many threads are in `admit` at once."""

    def __init__(self) -> None:
        self._inside = threading.Semaphore(1)
        self.admitted: list[str] = []

    def admit(self, persona: str) -> None:
        assert self._inside.acquire(blocking=False), "two at once"
        time.sleep(0.01)
        self.admitted.append(persona)
        self._inside.release()


async def test_personas_are_admitted_one_at_a_time() -> None:
    pool = Pool()
    load: Any = _loader(Catalogue(), pool)  # type: ignore[arg-type]
    spec = SessionSpec("ses_1", "room", "ada", "avatar", "ws://localhost", lambda: "", 0.0)
    assert await asyncio.gather(*(load(spec) for _ in range(5))) == ["ada"] * 5
    assert pool.admitted == ["ada"] * 5
