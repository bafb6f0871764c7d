"""Relays bytes between two connections, limited to what a room needs."""

from __future__ import annotations

import asyncio
import contextlib

BLOCK = 65_536
BURST = 8 << 20  # bytes at once, such as a large room's list of participants
FLUSH_S = 1.0
RATE = 1 << 20  # bytes a second after that


class Allowance:
    """A token bucket: a burst, then a steady rate."""

    def __init__(self, burst: int = BURST, rate: int = RATE) -> None:
        self._burst, self._rate = burst, rate
        self._left = float(burst)
        self._at = asyncio.get_running_loop().time()

    def take(self, size: int) -> float:
        """Seconds to wait before reading on."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - size
        self._at = now
        return max(0.0, -self._left / self._rate)


async def relay(
    here: asyncio.StreamReader,
    back: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    to: asyncio.StreamWriter,
) -> None:
    """Relay until either side closes, then close both."""
    pumps = {
        asyncio.create_task(_pump(here, to, None)),
        asyncio.create_task(_pump(there, back, Allowance())),
    }
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        await asyncio.gather(finish(to), finish(back))


async def finish(writer: asyncio.StreamWriter) -> None:
    """Flush and close; abort if the peer does not read."""
    writer.close()
    try:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await writer.wait_closed()
    finally:
        writer.transport.abort()  # nothing where it is closed; cancelled, it would stay half open


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowance: Allowance | None
) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
            if allowance is not None and (pause := allowance.take(len(block))):
                await asyncio.sleep(pause)
