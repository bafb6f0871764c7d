"""Connections of a service that may open no more files."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from app.config import Settings
from tests.app import quiet_service

pytestmark = pytest.mark.slow

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@asynccontextmanager
async def short_of_descriptors(settings: Settings, left: int) -> AsyncIterator[tuple[str, int]]:
    """Where a service listens that may open so many files more than it has now."""
    child = await asyncio.to_thread(quiet_service.start, settings)
    try:
        host, port = child.url.removeprefix("http://").split(":")
        # It answers once it has started, and has opened by then what it keeps open.
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(CLOSING)
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        files = psutil.Process(child.process.pid).num_fds() + left
        resource.prlimit(child.process.pid, resource.RLIMIT_NOFILE, (files, files))
        yield host, int(port)
    finally:
        child.process.terminate()
        child.process.communicate()


async def test_without_a_descriptor_left_others_make_room(service_settings: Settings) -> None:
    """A limit of connections that the system does not give."""
    settings = service_settings.model_copy(update={"max_connections": 500})
    async with short_of_descriptors(settings, 40) as (host, port):
        held = [await asyncio.open_connection(host, port) for _ in range(100)]
        for _ in range(3):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(HEALTH)
            assert await asyncio.wait_for(reader.readline(), 30) == b"HTTP/1.1 200 OK\r\n"
            held.append((reader, writer))
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("left", [1, 3])
async def test_the_last_descriptors_are_for_those_who_ask(
    service_settings: Settings, left: int
) -> None:
    """A request that has come, and was not read yet, makes room for nobody."""
    settings = service_settings.model_copy(update={"max_connections": 500})
    async with short_of_descriptors(settings, left) as (host, port):
        for many in (1, 8):
            asking = [await asyncio.open_connection(host, port) for _ in range(many)]
            for _, writer in asking:
                writer.write(CLOSING)
            for reader, writer in asking:
                answer = await asyncio.wait_for(reader.read(), 30)
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                writer.close()
