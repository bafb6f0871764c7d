"""The engine in another process, with a real socket and shared memory between."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM
from socket import socket as Socket  # noqa: N812

import numpy as np
import pytest

from engine.backends.backend import Backend
from engine.backends.warp import WarpBackend
from engine.core.engine_errors import BackendUnavailable, EngineFault, PersonaError
from engine.core.persona import Persona
from engine.engine_config import EngineConfig
from engine.remote.arena import PAGE, Arena, ArenaView
from engine.remote.client import RemoteRenderer
from engine.remote.engine_server import EngineServer
from engine.serving.pool import EnginePool
from tests.engine.drawn import kept
from tests.engine.pools import (
    PATIENCE,
    PERSONA,
    STALLED,
    ask,
    ask_twice,
    past_a_stall_of,
    running,
    shown,
    talk,
    until,
)
from tests.engine.test_pool_faults import Failing
from tests.limits import no_more_files

CONFIG = EngineConfig(backend="warp", max_streams=4)


@contextmanager
def serving(path: Path, backend: Backend | None = None) -> Iterator[EngineServer]:
    server = EngineServer(CONFIG, path, backend)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def pool_on(path: Path, config: EngineConfig = CONFIG) -> AsyncIterator[EnginePool]:
    pool = EnginePool(config, painter=lambda deliver: RemoteRenderer(path, deliver))
    await asyncio.to_thread(pool.start)
    try:
        yield pool
    finally:
        await pool.aclose()


@pytest.fixture
def kept_persona(tmp_path: Path) -> Persona:
    folder = tmp_path / "persona"
    folder.mkdir()
    return kept(PERSONA, folder)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "engine.sock"


async def test_pictures_are_those_of_a_pool_in_this_process(
    socket: Path, kept_persona: Persona
) -> None:
    frames = range(12)

    async def pictures(pool: EnginePool) -> list[np.ndarray]:
        pool.admit(kept_persona)
        stream = pool.open_stream(kept_persona)
        talk(stream)
        ask(stream, frames)
        made = [(await shown(stream, frame)).copy() for frame in frames]
        stream.close()
        return made

    async with running(config=CONFIG) as here:
        expected = await pictures(here)
    with serving(socket):
        async with pool_on(socket) as there:
            assert (there.backend_name, there.capacity) == ("warp", 4)
            assert there.lookahead_s == here.lookahead_s
            np.testing.assert_array_equal(await pictures(there), expected)
            await until(lambda: there.stats().frames >= len(frames))
            assert there.beat_age_s() < 2


async def test_places_of_pictures_are_given_back(socket: Path, kept_persona: Persona) -> None:
    with serving(socket) as server:
        async with pool_on(socket) as pool:
            stream = pool.open_stream(kept_persona)
            talk(stream)
            ask(stream, range(20))
            held = [await shown(stream, tick) for tick in range(20)]
            (client,) = server._clients
            await until(lambda: client.arena.taken == 20)
            stream.close()
            del held
            gc.collect()
            await until(lambda: client.arena.taken == 0)
            assert client.crowded == 0


async def test_pictures_that_find_no_place_are_counted(socket: Path, kept_persona: Persona) -> None:
    with serving(socket) as server:
        async with pool_on(socket) as pool:
            stream = pool.open_stream(kept_persona)
            (client,) = server._clients
            client.arena._end = client.arena.size  # all of it is taken
            talk(stream)
            ask(stream, range(5))
            await until(lambda: pool.stats().crowded == 5)
        await until(lambda: not server._clients)
        assert server.stats().crowded == 5, "those of a process that left still count"


async def test_an_engine_without_files_takes_the_next_connection(
    socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(socket), Socket(AF_UNIX, SOCK_STREAM) as early:
        with no_more_files(os.getpid()):
            early.connect(str(socket))
            await until(lambda: "cannot accept a worker's connection" in caplog.text)
        async with pool_on(socket) as pool:
            assert pool.fault is None


async def test_two_processes_of_sessions_get_their_own_pictures(
    socket: Path, kept_persona: Persona
) -> None:
    with serving(socket):
        async with pool_on(socket) as one, pool_on(socket) as other:
            talking, silent = one.open_stream(kept_persona), other.open_stream(kept_persona)
            talk(talking)
            ask(talking, range(3))
            spoke = await shown(talking, 2)
            talk(silent, np.zeros(640 * 3, np.int16))
            ask(silent, range(3))
            rested = await shown(silent, 2)
            assert not np.array_equal(spoke, rested)
            talking.close()
            talk(silent)
            ask(silent, range(3, 6))
            assert not np.array_equal(await shown(silent, 5), rested)


@pytest.mark.parametrize("hangs_up", [False, True], ids=["stream closed", "process gone"])
async def test_a_stall_does_not_outlive_its_stream(
    socket: Path, kept_persona: Persona, hangs_up: bool
) -> None:
    with serving(socket) as server:
        async with pool_on(socket) as pool:
            async with pool_on(socket, STALLED) as other:
                one = other.open_stream(kept_persona)
                if hangs_up:
                    one.started(time.monotonic())
                else:
                    await past_a_stall_of(one)
            await until(lambda: len(server._clients) == 1)
            await asyncio.sleep(0.6)
            later = pool.open_stream(kept_persona)
            talk(later)
            ask(later, range(1))
            await shown(later, 0)


async def test_what_was_cleared_does_not_come_back(socket: Path, kept_persona: Persona) -> None:
    with serving(socket):
        async with pool_on(socket) as pool:
            stream = pool.open_stream(kept_persona)
            talk(stream)
            ask(stream, range(10))
            stream.clear()
            talk(stream)
            first = stream.frames - 20
            ask(stream, range(first, first + 3))
            await shown(stream, first + 2)
            assert stream.picture(5) is None


async def test_an_engine_that_is_gone_is_told_and_the_next_one_is_found(
    socket: Path, kept_persona: Persona
) -> None:
    faults: list[str] = []
    with serving(socket) as first:
        async with pool_on(socket) as pool:
            stream = pool.open_stream(kept_persona)
            stream.on_fault = faults.append
            first.stop()
            await until(lambda: bool(faults))
            assert "is starting another" in faults[0]
            with pytest.raises(EngineFault, match="is starting another"):
                pool.open_stream(kept_persona)
            stream.close()
            with serving(socket):
                await until(lambda: pool.fault is None)
                again = pool.open_stream(kept_persona)
                talk(again)
                ask(again, range(1))
                await shown(again, 0)


async def test_sessions_are_told_while_the_backend_restarts_and_live_on(
    socket: Path, kept_persona: Persona
) -> None:
    class Slow(Failing):
        def start(self) -> None:
            super().start()
            if self.starts > 1:
                go_on.wait(PATIENCE)

    go_on = threading.Event()
    with serving(socket, Slow(fails=1)):
        async with pool_on(socket) as pool:
            faults: list[str] = []
            stream = pool.open_stream(kept_persona)
            stream.on_fault = faults.append
            talk(stream)
            ask(stream, range(1))
            await until(lambda: pool.fault == "The engine is being restarted. The device coughed.")
            go_on.set()
            await until(lambda: pool.fault is None)
            ask(stream, range(1, 2))
            await shown(stream, 1)
            assert faults == []


async def test_a_fault_for_good_ends_the_engine_and_reaches_every_stream(
    socket: Path, kept_persona: Persona
) -> None:
    backend = Failing(fails=2)
    with serving(socket, backend) as server:
        async with pool_on(socket) as one, pool_on(socket) as other:
            faults: list[str] = []
            streams = [pool.open_stream(kept_persona) for pool in (one, other)]
            for stream in streams:
                stream.on_fault = faults.append
                talk(stream)
            await ask_twice(streams[0], backend)
            await asyncio.to_thread(server.wait)
            await asyncio.to_thread(server.stop)
            await until(lambda: len(faults) == 2)
            assert all("coughed" in fault for fault in faults)


async def test_a_persona_that_cannot_be_painted_is_refused_with_the_reason(
    socket: Path, kept_persona: Persona, tmp_path: Path
) -> None:
    with serving(socket):
        async with pool_on(socket) as pool:
            await asyncio.to_thread(pool.admit, kept_persona)
            missing = replace(kept_persona, folder=tmp_path / "nowhere")
            with pytest.raises(PersonaError, match="nowhere is damaged"):
                await asyncio.to_thread(pool.admit, missing)


def test_an_engine_that_cannot_start_says_why(socket: Path) -> None:
    class Broken(WarpBackend):
        def start(self) -> None:
            raise BackendUnavailable("No device.", "Buy one.")

    with pytest.raises(BackendUnavailable, match=r"No device\. Buy one\."):
        EngineServer(CONFIG, socket, Broken(CONFIG)).start()


def test_an_arena_fills_up_and_takes_again_what_came_back() -> None:
    arena = Arena(4 * PAGE)
    picture = np.arange(PAGE + 1, dtype=np.int64).astype(np.uint8)
    places = [arena.put(picture), arena.put(picture)]
    assert arena.put(picture) is None
    assert None not in places
    arena.give_back(places[0] or 0)
    assert arena.put(picture[::-1]) == places[0]
    view = ArenaView(arena.file, arena.size)
    arena.file = -1
    np.testing.assert_array_equal(view.picture(places[1] or 0, len(picture)), picture)
    np.testing.assert_array_equal(view.picture(places[0] or 0, len(picture)), picture[::-1])
