"""The service split up: sessions in hosts, the engine in a process of its own, all of it real."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from app.config import Settings
from app.personas.catalogue import Catalogue
from app.rtc.sdk.tokens import avatar_token
from app.session_types import AudioSpec, EndReason, Outcome, SessionSpec
from app.worker.engine_process import EngineProcess
from app.worker.process import plain, settings_of
from app.worker.session_hosts import WorkerPool
from app.worker.worker_session import WorkerSession
from bench.clients.participant import LiveKitAccess
from bench.clients.speaker import RoomSpeaker
from bench.devstack import LiveKit, Service, local_service, prepare_persona
from tests.e2e.collector import Collector, values
from tests.e2e.scripted import tone
from tests.e2e.served import SIZE, begun, ended, has_left, metric, processes
from tests.e2e.waiting import PATIENCE_S, speaking, until
from tests.limits import no_more_files

# One service for all of them, which each leaves as it found it; the last one kills it.
pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PERSONAS = Path(__file__).parents[2] / "personas"
RATE = 48_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of the service, with the persona prepared."""
    folder = tmp_path_factory.mktemp("hosts")
    for size in (None, (SIZE, SIZE)):
        await prepare_persona(folder, "default", size)
    return folder


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    collector.start()
    yield collector
    collector.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    livekit_server: LiveKit, folder: Path, collector: Collector
) -> AsyncIterator[Service]:
    env = {
        "VOIPAVATAR_HOSTS": "2",
        "VOIPAVATAR_ENGINE": "warp",
        "VOIPAVATAR_MAX_SESSIONS": "8",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with local_service(folder, livekit_server, env=env) as service:
        yield service


async def test_sessions_are_spread_speak_and_end(
    service: Service, livekit_server: LiveKit, collector: Collector
) -> None:
    assert len(processes(service, "host")) == 2
    sessions = [await begun(service, f"spread-{number}") for number in range(2)]
    sockets = [len(host.net_connections("udp")) for host in processes(service, "host")]
    assert min(sockets) > 0, "each host is in a room"
    access = LiveKitAccess(livekit_server.url, livekit_server.key, livekit_server.secret)
    speaker = RoomSpeaker(access, RATE)
    await speaker.start("spread-0")
    path = f"/sessions/{sessions[0]['id']}"

    async def spoke() -> bool:
        now = (await service.http.get(f"{path}/stats")).json()
        told = await metric(service, "voipavatar_turn_start_seconds_count")
        painted = await metric(service, "voipavatar_engine_frames_total")
        return bool(now["fps"] and now["turn_start_ms"]["count"] and told and painted > 10)

    async def interrupted() -> bool:  # silence is not: where speech came late, once more
        assert (await service.http.post(f"{path}/interrupt")).status_code in (200, 202)
        stats = (await service.http.get(f"{path}/stats")).json()
        return bool(stats["interrupt_ms"]["count"])

    async with speaking(speaker, tone(1.0, RATE)):
        await until(spoke)
        await until(interrupted, 0.5)
    await speaker.aclose()
    for session in sessions:
        await service.http.delete(f"/sessions/{session['id']}")
        gone = await ended(service, session)
        assert (gone["state"], gone["end_reason"]) == ("ended", "deleted")
    kept = (await service.http.get(f"{path}/stats")).json()
    assert kept["interrupt_ms"]["count"] > 0, "final values stay"
    await until(lambda: has_left(access, "spread-0"))
    await _traced(collector, [session["id"] for session in sessions])


async def _traced(collector: Collector, sessions: list[str]) -> None:
    """The spans of both hosts have come, each session's with its own."""

    def of(name: str) -> list[str]:
        spans = collector.named(name)
        return [values(span.attributes)["voipavatar.session.id"] for span in spans]

    async def arrived() -> bool:
        return len(of("session")) == len(sessions)

    await until(arrived)
    assert sorted(of("session")) == sorted(of("join")) == sorted(sessions)
    assert set(of("turn")) == {sessions[0]}


async def test_a_killed_host_loses_its_own_sessions_only(service: Service) -> None:
    one, other = await begun(service, "kill-0"), await begun(service, "kill-1")
    victim = processes(service, "host")[0]
    victim.send_signal(signal.SIGKILL)
    ends = [asyncio.create_task(ended(service, each)) for each in (one, other)]
    (lost,), (waiting,) = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    assert lost.result()["error"]["code"] == "lost"
    survivor = other if lost.result()["id"] == one["id"] else one
    assert (await service.http.get(f"/sessions/{survivor['id']}")).json()["state"] == "ready"
    await begun(service, "kill-2")

    async def two_hosts() -> bool:
        return len(processes(service, "host")) == 2

    await until(two_hosts)
    assert victim.pid not in [host.pid for host in processes(service, "host")]


async def test_a_killed_engine_fails_its_sessions_and_serves_again(service: Service) -> None:
    session = await begun(service, "engine-0")
    (engine,) = processes(service, "engine")
    engine.send_signal(signal.SIGKILL)
    failed = await ended(service, session)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "engine_error")
    health: list[httpx.Response] = []

    async def unhealthy() -> bool:
        health[:] = [await service.http.get("/health")]
        if health[0].status_code == 503:
            return True
        for another in processes(service, "engine"):  # which was there before we looked
            another.send_signal(signal.SIGKILL)
        return False

    await until(unhealthy)
    assert "started again" in health[0].json()["detail"]
    body = {"room": "engine-1", "persona": "default"}
    answer = await service.http.post("/sessions", json=body)
    if answer.status_code != 201:  # else the next engine was quicker than this test
        assert answer.json()["code"] == "unhealthy"

    async def ready() -> bool:
        return (await service.http.get("/ready")).status_code == 200

    await until(ready)
    assert processes(service, "engine")[0].pid != engine.pid
    await begun(service, "engine-2")


async def test_a_system_without_files_for_processes_ends_no_keeper(service: Service) -> None:
    """Every host and the engine end while no process can be started; then the limit is lifted."""

    async def unready(words: str) -> bool:
        answer = await service.http.get("/ready")
        return answer.status_code == 503 and words in answer.json()["detail"]

    async def ready() -> bool:
        return (await service.http.get("/ready")).status_code == 200

    await until(ready)
    with no_more_files(service.child.pid):
        for host in processes(service, "host"):
            host.send_signal(signal.SIGKILL)
        await until(lambda: unready("a process for host"))
        await until(lambda: unready("Too many open files"))
        assert (await service.http.get("/health")).status_code == 200
        (engine,) = processes(service, "engine")
        engine.send_signal(signal.SIGKILL)
        await until(lambda: unready("a process for engine"))
    await until(ready)
    await begun(service, "files")

    async def two_hosts() -> bool:
        return len(processes(service, "host")) == 2

    await until(two_hosts)


async def test_a_host_that_has_served_long_enough_is_replaced(
    livekit_server: LiveKit, folder: Path, tmp_path: Path
) -> None:
    settings = Settings(
        _env_file=None,
        engine="warp",
        hosts=1,
        data_dir=folder,
        personas_dir=PERSONAS,
        LIVEKIT_URL=livekit_server.url,
        LIVEKIT_API_KEY=livekit_server.key,
        LIVEKIT_API_SECRET=livekit_server.secret,
    )
    path = tmp_path / "engine.sock"
    engine, hosts = EngineProcess(settings, path), WorkerPool(settings, path, life=1)
    catalogue = Catalogue(PERSONAS, folder / "personas")
    await engine.start()
    await hosts.start()
    try:
        (first,) = hosts.pids()
        sessions = []
        for number in range(2):
            session = WorkerSession(_spec(settings, f"life-{number}"), hosts, catalogue)
            ready = asyncio.Event()

            async def on_ready(ready: asyncio.Event = ready) -> None:
                ready.set()

            sessions.append((session, asyncio.create_task(session.run(on_ready))))
            await asyncio.wait_for(ready.wait(), PATIENCE_S)
        assert len(hosts.pids()) == 2, "the first host has a session still"
        for session, task in sessions:
            session.stop(EndReason.DELETED)
            assert await task == Outcome(EndReason.DELETED)

        async def gone() -> bool:
            return first not in hosts.pids()

        await until(gone)
        assert not psutil.pid_exists(first)
        assert len(hosts.pids()) == 1
    finally:
        await hosts.aclose()
        await engine.aclose()
        await catalogue.aclose()


async def test_settings_reach_a_process_as_they_are() -> None:
    secret: dict[str, Any] = {
        "LIVEKIT_API_SECRET": "hidden",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://here:4318",
    }
    settings = Settings(_env_file=None, test_stalls="10:200", engine="warp", port=1, **secret)
    assert settings_of(plain(settings)) == settings


async def test_nothing_outlives_the_service(service: Service, livekit_server: LiveKit) -> None:
    await begun(service, "leave")
    children = psutil.Process(service.child.pid).children(recursive=True)
    assert len(children) >= 3
    os.kill(service.child.pid, signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, PATIENCE_S)
    assert alive == [], "its children see that it is gone"
    access = LiveKitAccess(livekit_server.url, livekit_server.key, livekit_server.secret)
    await until(lambda: has_left(access, "leave"))


def _spec(settings: Settings, room: str) -> SessionSpec:
    audio = AudioSpec()
    return SessionSpec(
        id=f"ses_{room}",
        room=room,
        persona="default",
        identity="avatar",
        livekit_url=settings.livekit_url,
        token=lambda: avatar_token(settings, f"ses_{room}", room, "avatar", audio),
        requested_at=0.0,
        audio=audio,
    )
