"""JSON lines between the service and one of its processes, over a socket pair."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

LONGEST_LINE = 1 << 20


class Channel:
    """One end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, connection: socket.socket) -> Channel:
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=LONGEST_LINE))

    def send(self, **message: Any) -> None:
        """Dropped silently if the other end has closed."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None once the other end has closed."""
        with suppress(OSError):
            if line := await self._reader.readline():
                message: dict[str, Any] = json.loads(line)
                return message
        return None

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Messages until the other end closes."""
        while (message := await self.receive()) is not None:
            yield message

    async def aclose(self) -> None:
        """Close this end. Idempotent."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
