"""Faults made on purpose on the engine's own device: what becomes of its streams?

`voipavatar bench faults`. On a GPU the faults are real: its memory is filled, calls fail. On a CPU
errors with the same words stand for them.

What a restart within the process cures, and what not: memory that was short for a moment, and
calls that failed by themselves, are cured, and streams go on. Memory that stays short ends the
streams; the engine comes back by itself once there is room. An illegal address or a failed
assertion breaks the process's hold on the GPU for good (`DeviceLost`): a new process is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.backends.batches import Slot
from engine.backends.musetalk_torch import TorchBackend
from engine.core.engine_errors import EngineFault
from engine.core.persona import Persona
from engine.core.types import FRAME_S, SAMPLES_PER_FRAME, Pcm
from engine.engine_config import EngineConfig
from engine.serving.pool import EnginePool
from engine.serving.stream import Stream

PATIENCE_S = 180.0  # for a restart, which captures every graph anew
AHEAD_S = 0.3
SETTLED_S = 11.0  # longer than `runner.RELAPSE_S`: each fault comes as if it were the first
SERVED = 10  # painted pictures after which a stream counts as served
BLOCK = 2**30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one fault did."""

    fault: str
    told: int  # streams that ended with `engine_error`
    went_on: int  # streams that were painted again
    refused: str  # the error of a stream opened meanwhile; empty if it was served
    down_s: float  # until somebody was painted again
    passed: bool


class FaultyBackend(TorchBackend):
    """Production's backend, with a fault that comes with the next batch."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.harm: Callable[[], None] | None = None
        self.held: list[torch.Tensor] = []
        self.stays_full = False

    def _launch(self, slot: Slot, size: int) -> None:
        harm, self.harm = self.harm, None
        if harm is not None:
            harm()
        super()._launch(slot, size)

    def start(self) -> None:
        if self.stays_full and self.device.type != "cuda":
            raise self.refusal(torch.OutOfMemoryError("CUDA out of memory (injected)"))
        super().start()

    def stop(self) -> None:
        super().stop()
        self.held.clear()
        if self.stays_full and self.device.type == "cuda":
            with suppress(torch.OutOfMemoryError):
                self.fill()

    def fill(self) -> None:
        """Take all of the device's memory that is free; ends with the device's own error."""
        if self.device.type != "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        size = BLOCK
        while True:
            try:
                self.held.append(torch.empty(size, dtype=torch.uint8, device=self.device))
            except torch.OutOfMemoryError:
                if size <= BLOCK // 2**10:
                    raise
                size //= 4

    def fail(self) -> None:
        """A call that fails, and nothing else."""
        if self.device.type != "cuda":
            raise RuntimeError("CUDA error: invalid device ordinal (injected)")
        torch.cuda.set_device(99)

    def break_context(self) -> None:
        """An index out of its bounds on the device, after which it answers nothing any more."""
        if self.device.type != "cuda":
            raise RuntimeError("CUDA error: device-side assert triggered (injected)")
        outside = torch.tensor([1], device=self.device)
        torch.zeros(1, device=self.device)[outside].cpu()


@dataclass(slots=True)
class _Talk:
    """A stream that speaks, and what became of it."""

    stream: Stream
    painted: int = 0
    told: str = ""
    ticks: int = field(default=0)

    async def speak(self, speech: Pcm) -> None:
        """Ask for a picture every 40 ms, until a fault is reported."""
        self.stream.on_fault = self._tell
        self.stream.on_picture = self._count
        origin = time.monotonic() + AHEAD_S
        while not self.told:
            first = self.ticks * SAMPLES_PER_FRAME % (len(speech) - SAMPLES_PER_FRAME)
            self.stream.push(speech[first : first + SAMPLES_PER_FRAME])
            asked = self.ticks - 25
            if 0 <= asked < self.stream.complete:
                self.stream.picture(asked - 10)
                self.stream.request(asked, asked, time.monotonic() + AHEAD_S)
            self.ticks += 1
            await asyncio.sleep(max(0.0, origin + self.ticks * FRAME_S - time.monotonic()))

    def _tell(self, sentence: str) -> None:
        self.told = sentence

    def _count(self) -> None:
        self.painted += 1


@asynccontextmanager
async def _talking(
    pool: EnginePool, personas: Sequence[Persona], speech: Pcm, count: int
) -> AsyncIterator[list[_Talk]]:
    talks = [_Talk(pool.open_stream(personas[place % len(personas)])) for place in range(count)]
    tasks = [asyncio.create_task(talk.speak(speech)) for talk in talks]
    try:
        yield talks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for talk in talks:
            talk.stream.close()


async def bench(
    config: EngineConfig, personas: Sequence[Persona], speech: Pcm, streams: int
) -> AsyncIterator[Outcome]:
    """Cause each fault while streams speak.

    Args:
        speech: (n,) int16 mono at 16 kHz, without long pauses.

    Raises:
        BackendUnavailable: the engine does not even start.
    """
    backend = FaultyBackend(config)
    pool = EnginePool(config, backend)
    await asyncio.to_thread(pool.start)
    try:
        for persona in personas:
            await asyncio.to_thread(pool.admit, persona)
        faults = (
            ("device memory full for a moment", backend.fill, False, True),
            ("a call of the device failed", backend.fail, False, True),
            ("device memory full, and it stays so", backend.fill, True, False),
            ("the process's hold on the device broken", backend.break_context, False, False),
        )
        for name, harm, stays, survived in faults:
            backend.stays_full = stays
            yield await _suffer(pool, personas, speech, streams, (name, harm, survived))
            await asyncio.sleep(SETTLED_S)
    finally:
        backend.stays_full = False
        await pool.aclose()


async def _suffer(
    pool: EnginePool,
    personas: Sequence[Persona],
    speech: Pcm,
    streams: int,
    fault: tuple[str, Callable[[], None], bool],
) -> Outcome:
    name, harm, survives = fault
    backend: Any = harm.__self__  # type: ignore[attr-defined]
    async with _talking(pool, personas, speech, streams) as talks:
        await _until(lambda: all(talk.painted >= SERVED for talk in talks))
        restarts, begun = pool.stats().restarts, time.monotonic()
        backend.harm = harm
        await _until(lambda: pool.stats().restarts > restarts or pool.fault is not None)
        await asyncio.sleep(0)  # what the device's thread has handed over arrives
        before = [talk.painted for talk in talks]
        if survives:
            await _until(lambda: all(t.painted > b for t, b in zip(talks, before, strict=True)))
        else:
            await _until(lambda: all(talk.told for talk in talks))
        went_on = sum(t.painted > b for t, b in zip(talks, before, strict=True))
        told = sum(bool(talk.told) for talk in talks)
    refused = _refusal(pool, personas[0])
    lost = "for good" in (pool.fault or "")
    backend.stays_full = False
    served = not lost and await _served(pool, personas, speech, streams)
    down = time.monotonic() - begun
    expected = told == 0 and not refused if survives else told == streams and bool(refused)
    return Outcome(name, told, went_on, refused, down, expected and (served or lost))


def _refusal(pool: EnginePool, persona: Persona) -> str:
    try:
        pool.open_stream(persona).close()
    except EngineFault as error:
        return str(error)
    return ""


async def _served(pool: EnginePool, personas: Sequence[Persona], speech: Pcm, streams: int) -> bool:
    """New streams are painted."""
    await _until(lambda: pool.fault is None)
    async with _talking(pool, personas, speech, streams) as talks:
        return await _until(lambda: all(talk.painted >= SERVED for talk in talks))


async def _until(condition: Callable[[], bool]) -> bool:
    """It came true within PATIENCE_S."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.01)
    return True


def table(outcome: Outcome, streams: int) -> str:
    """A fault as text."""
    lines = [
        f"{'pass' if outcome.passed else 'FAIL'}  {outcome.fault}: {outcome.told} of {streams} "
        f"streams ended with engine_error, {outcome.went_on} went on; new streams "
        + (f"after {outcome.down_s:.1f} s" if "for good" not in outcome.refused else "never")
    ]
    if outcome.refused:
        lines.append(f"      meanwhile: {outcome.refused}")
    return "\n".join(lines)
