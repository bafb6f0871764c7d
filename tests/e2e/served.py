"""A service in processes of its own, as its API and the machine show it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from bench.clients.participant import LiveKitAccess
from bench.devstack import Service
from tests.e2e.waiting import until

SIZE = 256
LIMITS = {"join_timeout_s": 30, "participant_left_timeout_s": 600}


async def begun(service: Service, room: str) -> dict[str, Any]:
    video = {"width": SIZE, "height": SIZE}
    body = {"room": room, "persona": "default", "video": video, "limits": LIMITS}
    created: dict[str, Any] = {}

    async def taken() -> bool:
        answer = await service.http.post(
            "/sessions", json=body, params={"wait": "ready", "timeout": 25}
        )
        if answer.status_code == 503 and "has not moved" in answer.text:  # nor had the machine
            return False
        assert answer.status_code == 201, answer.text
        created.update(answer.json())
        return True

    await until(taken)
    assert created["state"] == "ready"
    return created


async def ended(service: Service, session: dict[str, Any]) -> dict[str, Any]:
    return await seen(service, session, lambda now: now["state"] in ("ended", "failed"))


async def seen(
    service: Service, session: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def looked() -> bool:
        found.update((await service.http.get(f"/sessions/{session['id']}")).json())
        return wanted(found)

    await until(looked)
    return found


async def metric(service: Service, name: str) -> float:
    lines = (await service.http.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1])


async def has_left(access: LiveKitAccess, room: str) -> bool:
    return "avatar" not in await access.participants(room)


def processes(service: Service, role: str) -> list[psutil.Process]:
    """The service's children of a role, oldest first."""
    found = []
    for child in psutil.Process(service.child.pid).children():
        with suppress(psutil.NoSuchProcess):  # it ends just now
            if child.cmdline()[2:4] == ["app.worker", role]:
                found.append((child.create_time(), child))
    return [child for _, child in sorted(found, key=lambda each: each[0])]
