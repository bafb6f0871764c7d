"""The way to a LiveKit server, which may be cut or lead to another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing


class Entrance:
    """An address that leads to a LiveKit server, later to another one, or to none."""

    def __init__(self, url: str) -> None:
        self._url: str | None = url
        self._open: set[asyncio.StreamWriter] = set()

    def lead_newcomers_to(self, url: str) -> None:
        """From now on; whoever is connected stays where they are."""
        self._url = url

    def lead_to(self, url: str | None) -> None:
        """From now on; whoever is connected loses the connection."""
        self._url = url
        for writer in self._open:
            writer.transport.abort()

    @asynccontextmanager
    async def at_a_port(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._pass, "127.0.0.1", 0) as server:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.lead_to(self._url)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._url is None:
            writer.transport.abort()
            return
        host, port = self._url.removeprefix("ws://").split(":")
        there, back = await asyncio.open_connection(host, int(port))
        self._open |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
