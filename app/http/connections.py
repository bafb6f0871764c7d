"""Accepts connections up to a limit, and closes those whose peers take too long.

At the limit, a new connection replaces the one that has waited longest without a complete request:
first an idle keep-alive connection, then one whose request is incomplete. A new connection is
refused only while all others are being answered. Idle and half-open connections therefore cannot
take descriptors from sessions, nor lock other callers out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from app.errors import ResourcesExhausted
from app.http.protocol import Phase, WatchedProtocol, raw_answer

log = structlog.get_logger(__name__)

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
CHECK_S = 1.0  # between checks for slow peers
REPORT_S = 10.0  # between log lines about closed and refused connections
PAUSE_S = 0.1  # after the system had no descriptor and none could be freed
REFUSED_PAUSE_S = 0.001  # sessions keep time on the same loop
YOUNG_S = 1.0  # a body that started to arrive this recently is not cut off for another connection


@dataclass(frozen=True, slots=True)
class Patience:
    """Time limits, in seconds, for each phase of a connection."""

    keep_alive_s: float = 75.0
    head_s: float = 10.0  # for a complete head, or for its first byte
    body_s: float = 20.0  # plus received bytes divided by `rate`
    rate: int = 8192  # bytes a second
    discard_s: float = 5.0  # for the rest of a refused body
    unread_s: float = 20.0  # without the peer reading any of an answer


class Connections:
    """All open connections."""

    def __init__(
        self,
        most: int,
        patience: Patience,
        make_protocol: Callable[[], WatchedProtocol],
    ) -> None:
        self.most = most
        self.patience = patience
        self._make_protocol = make_protocol
        self._open: set[WatchedProtocol] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._counted: Counter[str] = Counter()

    def serve(self, listening: socket.socket) -> None:
        """Start accepting."""
        listening.setblocking(False)
        self._tasks.append(asyncio.create_task(self._accept(listening), name="accept"))
        if len(self._tasks) == 1:
            self._tasks += [
                asyncio.create_task(self._watch(), name="connections"),
                asyncio.create_task(self._report(), name="connections report"),
            ]

    def close(self) -> None:
        """Stop accepting; open connections stay."""
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    await asyncio.sleep(0)  # the peer has gone already
                    continue
                # Linux says so before it looks whether anybody waits. Room for nobody would be made
                # by whoever took the last descriptor, and has not been read from yet.
                if _readable(listening):
                    self._counted["no_descriptor"] += 1
                    self._make_room()
                await asyncio.sleep(PAUSE_S)
                continue
            self._forget_closed()
            if len(self._open) >= self.most and not self._make_room():
                self._counted["refused"] += 1
                _turn_away(connection)
                await asyncio.sleep(REFUSED_PAUSE_S)
                continue
            protocol = self._make_protocol()
            try:
                await loop.connect_accepted_socket(lambda made=protocol: made, connection)  # type: ignore[misc]
            except OSError:
                connection.close()
            else:
                self._open.add(protocol)

    def _make_room(self) -> bool:
        """Close the longest-waiting connection of the lowest phase; False if none can go."""
        now = time.monotonic()
        waiting = [
            each
            for each in self._open
            if each.phase is not Phase.ANSWERING
            and not (each.phase is Phase.BODY and now - each.since < YOUNG_S)
            and not _unheard(each)
        ]
        if not waiting:
            return False
        victim = min(waiting, key=lambda each: (each.phase, each.since))
        self._counted["made_room"] += 1
        victim.transport.abort()
        self._open.discard(victim)
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(CHECK_S, self.patience.head_s / 2))
            self._forget_closed()
            now = time.monotonic()
            for each in list(self._open):
                try:
                    self._check(each, now)
                except Exception:
                    log.exception("a connection could not be checked")

    def _check(self, each: WatchedProtocol, now: float) -> None:
        if self._unread_too_long(each, now):
            self._counted["unread"] += 1
            each.transport.abort()
        elif not each.transport.is_closing() and self._is_late(each, now):
            self._counted[each.phase.name.lower()] += 1
            each.time_out()

    def _is_late(self, each: WatchedProtocol, now: float) -> bool:
        waited, patience = now - each.since, self.patience
        match each.phase:
            case Phase.IDLE:
                return waited > patience.keep_alive_s
            case Phase.HEAD:
                return waited > patience.head_s
            case Phase.DISCARDING:
                return waited > patience.discard_s
            case Phase.BODY:
                if each.flow.read_paused:  # the service, not the peer, has paused
                    each.since = now
                return waited > patience.body_s + each.body_bytes / patience.rate
        return False

    def _unread_too_long(self, each: WatchedProtocol, now: float) -> bool:
        """Whether the peer has stopped reading its answer."""
        size = each.transport.get_write_buffer_size()
        if size == 0:
            each.unread = None
        elif each.unread is None or size < each.unread[0]:
            each.unread = (size, now)
        return each.unread is not None and now - each.unread[1] > self.patience.unread_s

    def _forget_closed(self) -> None:
        gone = [each for each in self._open if each not in each.connections]
        self._open.difference_update(gone)

    async def _report(self) -> None:
        """Log one line for many connections, so that a flood of them cannot fill the log."""
        while True:
            await asyncio.sleep(REPORT_S)
            counted = {what: count for what, count in self._counted.items() if what != "idle"}
            self._counted.clear()
            if counted:
                log.warning("connections closed or refused", most=self.most, **counted)


def _unheard(each: WatchedProtocol) -> bool:
    """Whether something of the peer's has come that this loop has had no turn to read."""
    connection = each.transport.get_extra_info("socket")
    return not each.flow.read_paused and connection is not None and _readable(connection)


def _readable(connection: socket.socket) -> bool:
    """Whether there is something to read, or to accept, now. (`select` knows 1,024 descriptors.)"""
    if (number := connection.fileno()) < 0:
        return False
    looking = select.poll()
    looking.register(number, select.POLLIN)
    return bool(looking.poll(0))


def _turn_away(connection: socket.socket) -> None:
    """Send a refusal without waiting, then close."""
    with connection, contextlib.suppress(OSError):
        with contextlib.suppress(BlockingIOError):
            connection.recv(65_536)  # unread bytes would make the close a reset
        connection.send(raw_answer(_REFUSED))
        connection.shutdown(socket.SHUT_WR)


_REFUSED = ResourcesExhausted(
    "Every connection that the service may hold is in use; try again.", retry_after_s=1
)
