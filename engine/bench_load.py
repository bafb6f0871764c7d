"""Many streams on one pool in real time, without rooms: is every picture there when it is due?

`voipavatar bench load` prints `table(await bench(...))`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil

from engine.persona import Persona
from engine.pool import EnginePool
from engine.stream import Stream
from engine.types import FRAME_S, SAMPLES_PER_FRAME, Pcm

RUN_AHEAD_S = 0.32  # pictures are asked for at most so early, as a session does
AHEAD_FRAMES = 25  # sound is pushed a second ahead, as a voice that is made comes in
START_S = 0.5  # until the first picture is due
UNPAINTED_ROWS = 16  # at the top of every picture: no face reaches them, so they tell whose it is
SETTLED = 0.1  # share of the time after which memory is looked at first


@dataclass(frozen=True, slots=True)
class Report:
    backend: str
    streams: int
    seconds: float
    pictures: int  # that were due, of silence and of speech
    missed: int  # not there when they were due
    crossed: int  # with somebody else's background
    inferred: int
    batches: int
    mean_batch: float
    busy: float  # share of the time that the device had work
    slack_ms: dict[str, float]  # by which pictures came early: least, p1, p5, p50
    rss_mib: tuple[float, float]  # of this process, settled and at the end


@dataclass(slots=True)
class _Seen:
    missed: int = 0
    crossed: int = 0
    pictures: int = 0
    slack_s: list[float] = field(default_factory=list)


async def bench(
    pool: EnginePool, personas: Sequence[Persona], speech: Pcm, streams: int, seconds: float
) -> Report:
    """Let streams speak at once, each with another beginning and phase, personas in turn.

    Args:
        pool: started, idle, with room for the streams.
        speech: (n,) int16 mono at 16 kHz; said again and again.

    Raises:
        CapacityExhausted: the pool has fewer places.
    """
    before, begun = pool.stats(), time.monotonic()
    seen = _Seen()
    memory: list[float] = []
    with contextlib.ExitStack() as places:
        opened = []
        for number in range(streams):
            opened.append(pool.open_stream(personas[number % len(personas)]))
            places.callback(opened[-1].close)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_watch_memory(seconds, memory))
            for number, stream in enumerate(opened):
                said = np.roll(speech, -number * len(speech) // streams)
                origin = begun + START_S + number / streams * FRAME_S
                tasks.create_task(_speak(stream, said, origin, round(seconds / FRAME_S), seen))
    after, elapsed = pool.stats(), time.monotonic() - begun
    batches, inferred = after.batches - before.batches, after.frames - before.frames
    shares = {"least": 0, "p1": 1, "p5": 5, "p50": 50}
    slack = seen.slack_s or [0.0]
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
        slack_ms={name: 1000 * float(np.percentile(slack, q)) for name, q in shares.items()},
        rss_mib=(memory[0], memory[-1]),
    )


def table(report: Report) -> str:
    """The report as text."""
    slack = ", ".join(f"{name} {value:.0f}" for name, value in report.slack_ms.items())
    return "\n".join(
        [
            f"{report.backend}: {report.streams} streams for {report.seconds:.0f} s",
            f"pictures due {report.pictures}, missed {report.missed}, crossed {report.crossed}",
            f"inferred {report.inferred} in {report.batches} batches of {report.mean_batch:.1f}, "
            f"device busy {report.busy:.0%}",
            f"slack in ms: {slack}",
            f"memory {report.rss_mib[0]:.0f} MiB, at the end {report.rss_mib[1]:.0f} MiB",
        ]
    )


async def _speak(stream: Stream, speech: Pcm, origin: float, ticks: int, seen: _Seen) -> None:
    """One session: push sound, ask for pictures, take each when it is due."""
    awaited: dict[int, float] = {}

    def arrived() -> None:
        now = time.monotonic()
        for tick in [tick for tick in awaited if stream.has(tick)]:
            seen.slack_s.append(awaited.pop(tick) - now)

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
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        _take(stream, tick, seen)
        awaited.pop(tick, None)


def _take(stream: Stream, tick: int, seen: _Seen) -> None:
    seen.pictures += 1
    picture = stream.picture(tick)
    if picture is None:
        seen.missed += 1
        return
    rows = UNPAINTED_ROWS * stream.persona.width
    if not np.array_equal(picture[:rows], stream.idle(tick)[:rows]):
        seen.crossed += 1


async def _watch_memory(seconds: float, memory: list[float]) -> None:
    process = psutil.Process()
    for share in (SETTLED, 1 - SETTLED):
        await asyncio.sleep(seconds * share)
        memory.append(process.memory_info().rss / 2**20)
