"""A service that answers as it is told, in place of a real one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from livekit import rtc
from livekit.plugins.voipavatar import presence, sink
from scene import NEVER_S, join, until


@dataclass(slots=True)
class Service:
    """Answers in turn with `answers`, then as a service does that starts every session."""

    url: str = ""
    answers: list[tuple[int, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)  # that are listed
    state: str = "ready"  # of sessions that were not deleted
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # while it is clear, none answers
    stuck: set[str] = field(default_factory=set)  # methods that are not answered

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path))
        self.queries.append(dict(request.query))
        self.headers.append(dict(request.headers))
        if request.can_read_body:
            self.bodies.append(await request.json())
        await self.gate.wait()
        await until(lambda: request.method not in self.stuck, NEVER_S)
        if self.answers:
            status, body, headers = self.answers.pop(0)
            return web.json_response(body, status=status, headers=headers)
        if request.method == "POST":
            return web.json_response({"id": f"ses_{len(self.bodies)}"}, status=201)
        if request.path == "/sessions":
            return web.json_response({"items": self.items, "next_cursor": None})
        ended = {"state": "ended", "end_reason": "deleted"}
        state = ended if request.path in self.deleted() else {"state": self.state}
        named = {"id": request.path.rpartition("/")[2], "error": None}
        return web.json_response(named | state)

    def posts(self) -> int:
        return self.asked.count(("POST", "/sessions"))

    def deleted(self) -> list[str]:
        return [path for method, path in self.asked if method == "DELETE"]

    def token(self) -> str:
        """What the avatar that was asked for last joins with."""
        return str(self.bodies[-1]["livekit"]["token"])


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    made.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.gate.set()
    await runner.cleanup()


@pytest.fixture
async def room() -> AsyncIterator[rtc.Room]:
    """An agent's."""
    joined = await join(f"plugin-{secrets.token_hex(4)}", "agent")
    yield joined
    await joined.disconnect()


@pytest.fixture
def nothing_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither speech of which nothing is reported, nor the wait for an avatar that is away."""
    monkeypatch.setattr(sink, "OVERDUE_S", NEVER_S)
    monkeypatch.setattr(presence, "BACK_WITHIN_S", NEVER_S)
