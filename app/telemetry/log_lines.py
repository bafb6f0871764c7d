"""Keeps a log readable whatever is written to it: short lines, no control characters, few repeats.

Of the standard library alone: the process that reads our standard error uses it, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

LONGEST = 2048  # bytes of a line
LONGEST_RECORD = 16_384  # characters of a traceback on a terminal
CUT = "…[cut]"
FIRST = ("timestamp", "level", "logger", "event", "session_id", "request_id", "exception")
OURS = ("app", "engine")  # not root: LiveKit's library writes to it what strangers call things

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")
_QUOTED = re.compile(r"(?<=\s)['\"].*", re.DOTALL)  # somebody's words, and what follows them


def escaped(text: str, *, but_newlines: bool = False) -> str:
    """Control characters as `\\x1b`: they would write other lines than their own."""

    def visible(found: re.Match[str]) -> str:
        letter = found.group()
        if letter == "\n" and but_newlines:
            return letter
        return letter.encode("unicode_escape").decode()

    return _CONTROL.sub(visible, text)


def shortened(text: str, longest: int, *, keep_end: bool = False) -> str:
    """A traceback says what happened at its end, all else at its beginning."""
    if len(text) <= longest:
        return text
    return CUT + text[-longest:] if keep_end else text[:longest] + CUT


def json_line(fields: dict[str, Any], render: Callable[[dict[str, Any]], str]) -> str:
    """The fields as a line of at most LONGEST bytes, which is still JSON."""
    line = render(fields)
    longest = LONGEST // 2
    while len(line.encode()) > LONGEST and longest > 8:
        line = render({name: _cut(name, value, longest) for name, value in fields.items()})
        longest //= 2
    if len(line.encode()) > LONGEST:  # of too many fields
        few = {name: _cut(name, fields[name], 100) for name in FIRST if name in fields}
        line = render(few | {"cut": True})
    return line


def _cut(name: str, value: Any, longest: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    if len(text) <= longest:
        return value
    return shortened(text, longest, keep_end=name in ("exception", "stack"))


def plain_lines(text: str) -> str:
    """Of a record on a terminal: no line longer than LONGEST, and not too many of them."""
    text = shortened(text, LONGEST_RECORD, keep_end=True)
    return "\n".join(fitting(line) for line in text.split("\n"))


def fitting(line: str) -> str:
    """At most LONGEST bytes of it, and that more was cut off."""
    encoded = line.encode()
    if len(encoded) <= LONGEST:
        return line
    return encoded[: LONGEST - len(CUT.encode())].decode("utf-8", "ignore") + CUT


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    held_back: int = 0


class Repeats:
    """How often the same may be said: a burst, then so many a second; what is held back is counted.

    Ours may say more, since each session and request has lines of its own.
    """

    BURST, RATE = 20.0, 1.0
    OUR_BURST, OUR_RATE = 400.0, 40.0
    SUMMARY_S = 10.0
    MOST = 1000  # kinds of messages that are remembered

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._told_at = clock()

    def allows(self, logger: str, message: str) -> bool:
        """Numbers in a message, and what it quotes, do not make it another one."""
        ours = logger.split(".")[0] in OURS
        burst, rate = (self.OUR_BURST, self.OUR_RATE) if ours else (self.BURST, self.RATE)
        # A library that writes something else each time is limited as a whole, ten times as wide.
        kind = _QUOTED.sub("…", _NUMBERS.sub("#", message[:120]))
        return self._take((logger, kind), burst, rate) and self._take(
            (logger, ""), 10 * burst, 10 * rate
        )

    def summaries(self, *, now: bool = False) -> Iterator[tuple[str, int, str]]:
        """(logger, how many, of what) were held back, each ten seconds."""
        clock = self._clock()
        if not now and clock - self._told_at < self.SUMMARY_S:
            return
        self._told_at = clock
        for (logger, message), bucket in list(self._buckets.items()):
            if bucket.held_back:
                count, bucket.held_back = bucket.held_back, 0
                yield logger, count, message or "of different kinds"

    def _take(self, key: tuple[str, str], burst: float, rate: float) -> bool:
        now = self._clock()
        if len(self._buckets) > self.MOST:
            self._buckets = {
                each: bucket for each, bucket in self._buckets.items() if bucket.held_back
            }
            if len(self._buckets) > self.MOST:
                self._buckets.clear()
        bucket = self._buckets.setdefault(key, _Bucket(burst, now))
        bucket.left = min(burst, bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        if bucket.left < 1:
            bucket.held_back += 1
            return False
        bucket.left -= 1
        return True
