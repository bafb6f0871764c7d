"""Many streams on one pool in real time, without rooms: is every picture there when it is due?

`voipavatar bench load` prints `table(await bench(...))`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import psutil

from engine.core.persona import Persona
from engine.core.types import FRAME_S, SAMPLES_PER_FRAME, EngineStats, Pcm
from engine.serving.device_thread import BEAT_S
from engine.serving.pool import EnginePool
from engine.serving.stream import Stream

RUN_AHEAD_S = 0.32  # pictures are requested at most this early, as a session does
AHEAD_FRAMES = 25  # sound is pushed a second ahead, as a TTS delivers it
START_S = 0.5  # until the first picture is due
UNPAINTED_ROWS = 16  # at the top of every picture: no face reaches them, so they tell whose it is

PLACES = 2
"""Of streams that close and open again while the others go on."""

LAG_STEP_S = 0.01
WARM_S = 30  # after which a process is as big as it will be
MOMENTS = (0.1, 0.95)  # shares of the time at which memory is looked at; in between a third time
RSS_MIB, DEVICE_MIB = 32, 16
"""Growth from the first look to the last that still counts as flat."""

MEMORY_S = 60
"""Shorter runs say nothing about memory: personas' frames come in as they are shown, libraries
allocate what they keep."""

SHARES = {"least": 0.0, "p0.1": 0.1, "p1": 1.0, "p5": 5.0, "p50": 50.0}


@dataclass(frozen=True, slots=True)
class Report:
    backend: str
    streams: int
    seconds: float
    pictures: int  # that were due, of silence and of speech
    missed: int  # not there when they were due, or a moment too late
    crossed: int  # with somebody else's background
    inferred: int
    batches: int
    mean_batch: float
    busy: float  # share of the time that the device had work
    longest_ms: float  # of a batch, since the pool began
    reopened: int  # streams that closed and opened again meanwhile
    slack_ms: dict[str, float]  # by which pictures came early: least, p0.1, p1, p5, p50
    loop_lag_ms: float  # the longest stall of the event loop
    thread_lag_ms: float  # the longest that the device's thread showed no life beyond its beat
    rss_mib: tuple[float, ...]  # of this process: once it is warm, later, and towards the end
    device_mib: tuple[float, ...]  # of the device; empty without one

    @property
    def checks(self) -> dict[str, bool]:
        """What has to hold."""
        pictures = {
            "every picture before its deadline": self.missed == 0,
            "no picture in another stream": self.crossed == 0,
        }
        if self.seconds < MEMORY_S:
            return pictures
        return {
            **pictures,
            f"process memory flat within {RSS_MIB} MiB": _flat(self.rss_mib, RSS_MIB),
            f"device memory flat within {DEVICE_MIB} MiB": _flat(self.device_mib, DEVICE_MIB),
        }


@dataclass(slots=True)
class _Seen:
    missed: int = 0
    crossed: int = 0
    pictures: int = 0
    reopened: int = 0
    loop_lag_s: float = 0.0
    thread_lag_s: float = 0.0
    slack_s: array[float] = field(default_factory=lambda: array("d"))
    rss_mib: list[float] = field(default_factory=list)
    device_mib: list[float] = field(default_factory=list)


async def bench(
    pool: EnginePool,
    personas: Sequence[Persona],
    speech: Pcm,
    streams: int,
    seconds: float,
    reopen: int = 0,
) -> Report:
    """Let streams speak at once, each with another beginning and phase, personas in turn.

    Args:
        pool: started, idle, with room for the streams, and for two more that come and go.
        speech: (n,) int16 mono at 16 kHz; said again and again.
        reopen: how many streams open, speak and close while the others go on.

    Raises:
        CapacityExhausted: the pool has fewer places.
    """
    before, begun = pool.stats(), time.monotonic()
    seen = _Seen()
    with contextlib.ExitStack() as places:
        opened = []
        for number in range(streams):
            opened.append(pool.open_stream(personas[number % len(personas)]))
            places.callback(opened[-1].close)
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_watch(pool, seconds, seen))
            comings = cycle(personas)
            for place in range(PLACES if reopen else 0):
                times = (reopen + place) // PLACES
                tasks.create_task(_come_and_go(pool, comings, speech, times, seconds, seen))
            for number, stream in enumerate(opened):
                said = np.roll(speech, -number * len(speech) // streams)
                origin = begun + START_S + number / streams * FRAME_S
                tasks.create_task(_speak(stream, said, origin, round(seconds / FRAME_S), seen))
        watch.result()
    return _report(pool, before, time.monotonic() - begun, streams, seconds, seen)


def _report(
    pool: EnginePool,
    before: EngineStats,
    elapsed: float,
    streams: int,
    seconds: float,
    seen: _Seen,
) -> Report:
    after = pool.stats()
    batches, inferred = after.batches - before.batches, after.frames - before.frames
    slack = seen.slack_s or array("d", [0.0])
    return Report(
        backend=pool.backend_name,
        streams=streams,
        seconds=seconds,
        pictures=seen.pictures,
        missed=seen.missed,
        crossed=seen.crossed,
        inferred=inferred,
        batches=batches,
        mean_batch=inferred / max(1, batches),
        busy=(after.busy_s - before.busy_s) / elapsed,
        longest_ms=1000 * after.longest_s,
        reopened=seen.reopened,
        slack_ms={name: 1000 * float(np.percentile(slack, q)) for name, q in SHARES.items()},
        loop_lag_ms=1000 * seen.loop_lag_s,
        thread_lag_ms=1000 * seen.thread_lag_s,
        rss_mib=tuple(seen.rss_mib),
        device_mib=tuple(seen.device_mib),
    )


def table(report: Report) -> str:
    """The report as text."""
    slack = ", ".join(f"{name} {value:.0f}" for name, value in report.slack_ms.items())
    device = f"; of the device {_listed(report.device_mib)}" if report.device_mib else ""
    return "\n".join(
        [
            f"{report.backend}: {report.streams} streams for {report.seconds:.0f} s, "
            f"{report.reopened} that came and went meanwhile",
            f"pictures due {report.pictures}, missed {report.missed}, crossed {report.crossed}",
            f"inferred {report.inferred} in {report.batches} batches of {report.mean_batch:.1f}, "
            f"the longest took {report.longest_ms:.0f} ms, device busy {report.busy:.0%}",
            f"slack in ms: {slack}",
            f"longest stall in ms: event loop {report.loop_lag_ms:.0f}, "
            f"the device's thread {report.thread_lag_ms:.0f}",
            f"MiB of the process when warm, later, at the end: {_listed(report.rss_mib)}{device}",
            *(f"{'pass' if held else 'FAIL'}  {what}" for what, held in report.checks.items()),
            *([_TOO_SHORT] if report.seconds < MEMORY_S else []),
        ]
    )


_TOO_SHORT = f"not judged: memory, which takes {MEMORY_S} s or more"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _flat(values: Sequence[float], limit: float) -> bool:
    return not values or values[-1] - values[0] <= limit


async def _come_and_go(
    pool: EnginePool,
    personas: Iterator[Persona],
    speech: Pcm,
    times: int,
    seconds: float,
    seen: _Seen,
) -> None:
    """Streams one after the other, each with the beginning of the speech."""
    ticks = max(1, round((seconds / times - START_S) / FRAME_S))
    for _ in range(times):
        stream = pool.open_stream(next(personas))
        try:
            await _speak(stream, speech, time.monotonic() + START_S, ticks, seen)
        finally:
            stream.close()
        seen.reopened += 1


async def _speak(stream: Stream, speech: Pcm, origin: float, ticks: int, seen: _Seen) -> None:
    """One session: push sound, ask for pictures, take each when it is due."""
    awaited: dict[int, float] = {}
    late: set[int] = set()

    def arrived() -> None:
        now = time.monotonic()
        for tick in [tick for tick in awaited if stream.has(tick)]:
            slack = awaited.pop(tick) - now
            seen.slack_s.append(slack)
            # Here before it was fetched, but fetched too late: a picture on its deadline is due.
            if slack < 0:
                late.add(tick)

    stream.on_picture = arrived
    looped = np.resize(speech, (ticks + AHEAD_FRAMES) * SAMPLES_PER_FRAME)
    pushed = asked = 0
    for tick in range(ticks):
        while pushed < tick + AHEAD_FRAMES:
            stream.push(looped[pushed * SAMPLES_PER_FRAME :][:SAMPLES_PER_FRAME])
            pushed += 1
        due = origin + tick * FRAME_S
        until = max(time.monotonic(), due - FRAME_S) + RUN_AHEAD_S
        while asked < min(ticks, stream.complete) and origin + asked * FRAME_S <= until:
            awaited[asked] = origin + asked * FRAME_S
            stream.request(asked, asked, awaited[asked])
            asked += 1
        arrived()  # a silent picture is there at once, without a notification
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        _take(stream, tick, tick in late, seen)
        awaited.pop(tick, None)


def _take(stream: Stream, tick: int, late: bool, seen: _Seen) -> None:
    seen.pictures += 1
    picture = stream.picture(tick)
    if picture is None or late:
        seen.missed += 1
        return
    rows = UNPAINTED_ROWS * stream.persona.width
    if not np.array_equal(picture[:rows], stream.idle(tick)[:rows]):
        seen.crossed += 1


async def _watch(pool: EnginePool, seconds: float, seen: _Seen) -> None:
    """Stalls all the time, and memory now and then."""
    process, begun = psutil.Process(), time.monotonic()
    last = MOMENTS[1] * seconds
    first = min(max(WARM_S, MOMENTS[0] * seconds), last / 2)
    moments = [begun + moment for moment in (first, (first + last) / 2, last)]
    while moments:
        planned = time.monotonic() + LAG_STEP_S
        await asyncio.sleep(LAG_STEP_S)
        now = time.monotonic()
        seen.loop_lag_s = max(seen.loop_lag_s, now - planned)
        seen.thread_lag_s = max(seen.thread_lag_s, pool.beat_age_s() - BEAT_S)
        if now >= moments[0]:
            moments.pop(0)
            seen.rss_mib.append(process.memory_info().rss / 2**20)
            if (used := _device_mib()) is not None:
                seen.device_mib.append(used)


def _device_mib() -> float | None:
    """Memory in use on this process's GPU, by any process; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return float(total - free) / 2**20
