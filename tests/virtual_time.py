"""An event loop whose clock jumps to the next timer whenever nothing else is to be done.

Half a minute of back-off then takes a millisecond, and every test sees the same moments. Only for
code that waits for its own timers and events: what threads or sockets do takes real time, in which
this clock may jump ahead.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any, ParamSpec
from unittest import mock

CODE = "app.rtc"  # whose `time.monotonic()` is the loop's
BEGIN = 1000.0  # of the clock: code may take a moment of 0.0 for none
LONGEST_S = 86_400.0  # of virtual time in one test
STUCK_S = 5.0  # of real time in which nothing happens and no timer is set

P = ParamSpec("P")


class StuckError(AssertionError):
    """Everything waits, and nothing is left that could wake it."""


class _Jumping(selectors.BaseSelector):
    """Looks at what is ready now; instead of waiting for a timer it moves the clock to it."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = BEGIN

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            if ready := self._real.select(STUCK_S):
                return ready
            raise StuckError(f"nothing happened for {STUCK_S:g} s, and no timer is set")
        self.now += timeout
        if self.now > BEGIN + LONGEST_S:
            raise StuckError("a day has passed")
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on a `VirtualLoop`; `now()` is 0 when it begins."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        runner = asyncio.Runner(loop_factory=VirtualLoop)
        with runner, _seen_by_code(runner.get_loop().time):
            runner.run(main())

    return run


def now() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time() - BEGIN


async def settle() -> None:
    """Let everything run that is ready, without letting time pass."""
    for _ in range(30):
        await asyncio.sleep(0)


@contextmanager
def _seen_by_code(clock: Callable[[], float]) -> Iterator[None]:
    """The one seam: `time` as the modules of `CODE` have imported it."""
    seen = SimpleNamespace(**{name: getattr(time, name) for name in dir(time)})
    seen.monotonic = clock
    with ExitStack() as patches:
        for name, module in list(sys.modules.items()):
            if name.startswith(CODE) and getattr(module, "time", None) is time:
                patches.enter_context(mock.patch.object(module, "time", seen))
        yield
