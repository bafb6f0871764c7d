"""uvicorn's HTTP/1.1 protocol, extended to track each request's phase and its age.

uvicorn limits neither the time nor the size of a request's head, nor the time for its body or for
an unread answer.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from enum import IntEnum
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.errors import AppError, BadRequest, HeadTooLarge, RequestTimeout
from app.http.problems import problem_response

MAX_HEAD = 32 * 1024  # bytes, of trailers too
MAX_PIPELINED = 32  # requests waiting for the one before them
MAX_DISCARDED = 16 * 1024 * 1024  # bytes of a refused body
OVERHEAD = 8  # bytes on the wire for each byte of a chunked body, at most


class Phase(IntEnum):
    """What a connection waits for; lower phases make room for new connections first."""

    IDLE = 0  # the next request
    HEAD = 1  # the first request, or the rest of a head
    DISCARDING = 2  # the rest of a body whose request is already answered
    BODY = 3
    ANSWERING = 4  # the service


class WatchedProtocol(HttpToolsProtocol):
    """One connection, which `Connections` checks regularly."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.phase = Phase.HEAD
        self.since = time.monotonic()  # when the phase began
        self.body_bytes = 0  # of the present request's body
        self.unread: tuple[int, float] | None = None  # bytes the peer has not read, and since when
        self._head_bytes = 0
        self._wire_bytes = 0  # since the head was complete
        self._in_body = False  # the head is complete, the body is not

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_body:
            self._wire_bytes += len(data)
        else:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport is None or self.transport.is_closing():
            return
        self._review()
        if self._head_bytes > MAX_HEAD:
            self.refuse(HeadTooLarge(f"The head may be {MAX_HEAD} bytes at most."))
        elif self._wire_bytes > MAX_HEAD + OVERHEAD * self.body_bytes:
            self.refuse(HeadTooLarge(f"Trailers may be {MAX_HEAD} bytes at most."))
        elif len(self.pipeline) > MAX_PIPELINED or (
            self.phase is Phase.DISCARDING and self.body_bytes > MAX_DISCARDED
        ):
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._head_bytes = self._wire_bytes = self.body_bytes = 0
        self.since = time.monotonic()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._head_bytes = self._wire_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._review()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP with a problem instead of uvicorn's text."""
        self.refuse(BadRequest("The request is not valid HTTP/1.1."))

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: upgrades may be ignored, and a line for each request fills the log."""

    def refuse(self, error: AppError) -> None:
        """Close, after stating the error unless an answer has already begun."""
        if self.transport.is_closing():
            return
        if not self._answered():
            self.transport.write(raw_answer(error))
        self.transport.close()

    def time_out(self) -> None:
        """Close a slow connection; answer only if a head arrived but not its body."""
        if self.phase is Phase.BODY:
            self.refuse(RequestTimeout("The request did not arrive in time."))
        else:
            self.transport.abort()

    def _answered(self) -> bool:
        """Whether part of an answer was sent, which a second answer would garble."""
        cycle = self.cycle
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def _review(self) -> None:
        phase = self._current_phase()
        if phase is not self.phase:
            self.phase, self.since = phase, time.monotonic()

    def _current_phase(self) -> Phase:
        cycle = self.cycle
        answering = cycle is not None and not cycle.response_complete
        if self._in_body:
            return Phase.BODY if answering else Phase.DISCARDING
        if answering or self.pipeline:
            return Phase.ANSWERING
        return Phase.HEAD if self._head_bytes or cycle is None else Phase.IDLE


def raw_answer(error: AppError) -> bytes:
    """A complete answer as bytes, for connections that never reach the app."""
    request_id = uuid.uuid4().hex
    response = problem_response(error, request_id)
    headers = {"connection": "close", "x-request-id": request_id, **dict(response.headers)}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + bytes(response.body)
