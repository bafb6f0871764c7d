"""What every request passes before its route: id, log, metrics, API key, body limit."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.db.database import Database
from app.errors import AppError, PayloadTooLarge
from app.http.auth import FREE, authorise
from app.http.caller import host_named
from app.http.problems import problem_response, unexpected_problem
from app.telemetry.prometheus import Metrics

log = structlog.get_logger("app.http")

MAX_BODY = 1024 * 1024  # bytes (docs/api.md, "Sessions")
SWALLOWED = 16 * MAX_BODY
SWALLOW_S = 2.0
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UNEVENTFUL = frozenset({"/health", "/ready", "/metrics"})


class RequestServices(Protocol):
    """The part of the services that middleware uses."""

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database: ...

    @property
    def metrics(self) -> Metrics: ...


class RequestMiddleware:
    """ASGI middleware; routes see only requests that are authorised and small."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        state = scope.setdefault("state", {})
        state["requested_at"] = time.monotonic()
        state["request_id"] = _request_id(Headers(scope=scope))
        answer = _Answer(send, state["request_id"])
        arriving = _Arriving(receive)
        with structlog.contextvars.bound_contextvars(request_id=state["request_id"]):
            try:
                await self._handle(scope, arriving, answer)
            except ClientDisconnect:
                pass  # nobody is left to answer
            except AppError as error:
                await self._refuse(error, scope, arriving, answer)
            except Exception as error:
                fault = unexpected_problem(error, scope["path"])
                if answer.status is not None:
                    raise  # half an answer is sent; only a broken connection tells the caller
                await self._refuse(fault, scope, arriving, answer)
            finally:
                self._record(scope, answer)

    async def _handle(
        self, scope: Scope, receive: Receive, send: Callable[..., Awaitable[None]]
    ) -> None:
        services: RequestServices = scope["state"]["services"]
        headers = Headers(scope=scope)
        host_named(headers, scope["http_version"])
        if scope["path"] not in FREE:
            client = scope["client"][0] if scope.get("client") else None
            insecure = services.settings.insecure
            await authorise(
                services.database,
                headers,
                client,
                insecure=insecure,
                http_version=scope["http_version"],
            )
        await self._app(scope, await _small_body(headers, receive), send)

    async def _refuse(
        self, error: AppError, scope: Scope, arriving: _Arriving, answer: _Answer
    ) -> None:
        await arriving.swallow(Headers(scope=scope))
        response = problem_response(error, scope["state"]["request_id"])
        await response(scope, arriving, answer)

    def _record(self, scope: Scope, answer: _Answer) -> None:
        services: RequestServices = scope["state"]["services"]
        seconds = time.monotonic() - scope["state"]["requested_at"]
        route = getattr(scope.get("route"), "path", "none")
        status = answer.status or 499  # nothing was sent: the caller disconnected
        services.metrics.http.labels(scope["method"], route, status).observe(seconds)
        write = log.debug if scope["path"] in _UNEVENTFUL else log.info
        # Log the path only: a query may carry a token.
        write(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 1),
        )


class _Arriving:
    """Receives a body and knows whether all of it has arrived."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def swallow(self, headers: Headers) -> None:
        """Read on for a while before a refusal.

        A caller still sending when the connection closes sees a reset instead of the answer. A
        caller that sent `Expect` waits before it sends a body.
        """
        left = 0 if "expect" in headers else SWALLOWED
        with suppress(TimeoutError):
            async with asyncio.timeout(SWALLOW_S):
                while left > 0 and not self._whole:
                    left -= len((await self()).get("body", b""))


class _Answer:
    """Forwards the answer with the request's id, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._request_id
        await self._send(message)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


async def _small_body(headers: Headers, receive: Receive) -> Receive:
    """Read the whole body, then return a `receive` that replays it.

    Raises PayloadTooLarge once the body exceeds the limit, ClientDisconnect if it breaks off.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise PayloadTooLarge(f"The body may be {MAX_BODY} bytes at most.")
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        messages.append(message)
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise PayloadTooLarge(f"The body may be {MAX_BODY} bytes at most.")
        if not message.get("more_body", False):
            break
    ahead = iter(messages)

    async def replay() -> Message:
        return next(ahead, None) or await receive()

    return replay
