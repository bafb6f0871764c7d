"""Sessions of processes that died are lost; those of living ones are left alone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psutil
import pytest
from sqlalchemy import select, update

from app.config import Settings
from app.db.columns import now
from app.db.database import Database
from app.db.tables import InstanceRow, SessionEventRow, SessionRow
from app.sessions import instances
from app.sessions.events import SessionEvents
from app.sessions.instances import Instance
from app.sessions.repository import SessionRepository
from app.telemetry.prometheus import Metrics
from tests.app import quiet_service
from tests.fixtures.api import Serve
from tests.fixtures.database import session_row


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    """A process that lives until the test kills it."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield psutil.Process(child.pid)
    child.kill()
    child.communicate()


def instance_on(database: Database) -> Instance:
    return Instance(database, SessionEvents(database, Metrics()))


async def live_session(database: Database, owner: str, room: str = "r") -> str:
    row = session_row(f"ses_{owner}_{room}", owner, "ready", room)
    async with database.write() as session:
        await SessionRepository(session).add(row)
    return row.id


async def enrol(database: Database, process: psutil.Process, **more: object) -> str:
    row = InstanceRow(
        id=f"ins_{process.pid}",
        host=instances._host(),
        pid=process.pid,
        process_started=process.create_time(),
        started_at=now(),
        heartbeat_at=now(),
    )
    for name, value in more.items():
        setattr(row, name, value)
    async with database.write() as session:
        session.add(row)
    return f"ins_{process.pid}"


async def state_of(database: Database, session_id: str) -> tuple[str, str | None]:
    async with database.read() as session:
        row = await session.get_one(SessionRow, session_id)
    return row.state, row.error_code


async def test_a_dead_process_loses_its_sessions_only(
    database: Database, process: psutil.Process
) -> None:
    owner = await enrol(database, process)
    theirs = await live_session(database, owner, "theirs")
    us = instance_on(database)
    await us.register()
    assert us.settled
    ours = await live_session(database, us.id, "ours")
    assert await state_of(database, theirs) == ("ready", None)

    process.kill()  # and not waited for: a zombie is dead, too
    async with asyncio.timeout(30):
        while process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await us.reap()
    assert await state_of(database, theirs) == ("failed", "lost")
    assert await state_of(database, ours) == ("ready", None)
    async with database.read() as session:
        query = select(SessionEventRow).where(SessionEventRow.to_state == "failed")
        [event] = (await session.scalars(query)).all()
    assert (event.session_id, event.from_state, event.reason) == (theirs, "ready", "lost")


async def test_a_number_that_another_process_has_now_is_no_sign_of_life(
    database: Database, process: psutil.Process
) -> None:
    owner = await enrol(database, process, process_started=process.create_time() - 3600)
    lost = await live_session(database, owner)
    await instance_on(database).register()
    assert await state_of(database, lost) == ("failed", "lost")


async def test_who_signed_off_owns_nothing(database: Database) -> None:
    first = instance_on(database)
    await first.register()
    left = await live_session(database, first.id)
    await first.deregister()
    await instance_on(database).register()
    assert await state_of(database, left) == ("failed", "lost")


async def test_another_host_is_listened_to(database: Database, process: psutil.Process) -> None:
    owner = await enrol(database, process, host="elsewhere", pid=1)
    theirs = await live_session(database, owner)
    us = instance_on(database)
    await us.register()
    before = us.settled
    assert not before
    async with database.write() as session:
        await session.execute(update(InstanceRow).values(heartbeat_at=now()))
    await us.reap()
    assert us.settled
    assert await state_of(database, theirs) == ("ready", None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_only_silence_by_our_own_clock_is_death(database: Database) -> None:
    us = instance_on(database)
    assert us._check_heartbeat("other", 5.0, 0.0) is None
    assert us._check_heartbeat("other", 5.0, 10.0) is None
    assert us._check_heartbeat("other", 6.0, 11.0) is True
    assert us._check_heartbeat("other", 6.0, 20.0) is True
    assert us._check_heartbeat("other", 6.0, 27.0) is False
    assert us._check_heartbeat("mute", 5.0, 0.0) is None
    assert us._check_heartbeat("mute", 5.0, 16.0) is False


@pytest.mark.slow
async def test_killed_and_started_again(
    serve: Serve,
    service_settings: Settings,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.main.BEAT_S", 0.1)
    settings = service_settings.model_copy(update={"database_url": database_url})
    standing = await serve(settings)
    kept = await standing.create("kept")
    child = await asyncio.to_thread(quiet_service.start, settings)
    async with httpx.AsyncClient(base_url=child.url, timeout=20, verify=False) as http:
        for room in ("a", "b", "c"):
            body = {"room": room, "persona": "default"}
            assert (await http.post("/sessions?wait=ready", json=body)).status_code == 201
    child.process.kill()
    child.process.communicate()

    api = await serve(settings)
    assert (await api.http.get("/ready")).status_code == 200
    items = (await api.http.get("/sessions")).json()["items"]
    states = {item["room"]: (item["state"], item["end_reason"]) for item in items}
    lost = ("failed", "lost")
    assert states == {"a": lost, "b": lost, "c": lost, "kept": ("ready", None)}
    await api.create("a")
    answer = await api.http.delete(f"/sessions/{kept['id']}")
    assert answer.status_code == 202
    ended = await api.ended(kept["id"])  # the process that owns it heard of it
    assert ended["end_reason"] == "deleted"
