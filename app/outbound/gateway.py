"""A proxy on loopback through which LiveKit's library, and nothing else, reaches LiveKit servers.

The library follows redirects anywhere, resolves names itself, accepts answers of any size and obeys
HTTP_PROXY but not NO_PROXY, and none of that is configurable. But it reads HTTP_PROXY at every
attempt. The gateway puts its own address there and opens each of the library's connections itself:
only to servers that a session was admitted to, at a checked address, through the real proxy if one
is set. Answers to plain HTTP requests are reduced to their status.

Media does not pass through it: docs/security.md, What remains.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hmac import compare_digest
from urllib.parse import urlsplit

import structlog

from app.outbound.addresses import Endpoint, endpoint
from app.outbound.dial import CannotConnect, NotPublic, dial
from app.outbound.fetch import CertificateRefused, NotSpoken, get
from app.outbound.proxies import NAMES, Proxies, ProxyUnusable, current_proxies, proxies_kept
from app.outbound.relay import finish, relay

log = structlog.get_logger(__name__)

LONGEST_REQUEST = 65_536  # the library puts its join request into the URL
REQUEST_S = 5.0
CONNECT_S = 5.0
QUESTIONS = ("/rtc/validate", "/rtc/v1/validate", "/settings/regions")
CLOUD = (".livekit.cloud", ".livekit.run")  # the library also connects to their region servers

Place = tuple[str, int]


@dataclass(slots=True, eq=False)
class Admission:
    """One session's permission to reach its LiveKit, and the last error there."""

    place: Endpoint
    public_only: bool
    trouble: str = ""


@dataclass(slots=True)
class Gateway:
    """Opened by `open_gateway`."""

    proxies: Proxies
    own: Endpoint | None
    authorization: bytes = field(repr=False)
    _admitted: dict[Place, set[Admission]] = field(default_factory=dict)
    _open: dict[asyncio.Task[None], Place | None] = field(default_factory=dict)

    @contextmanager
    def admit(self, url: str, *, public_only: bool) -> Iterator[Admission]:
        """While it lasts, the library may reach that server; afterwards its connections end."""
        admission = Admission(endpoint(url), public_only)
        place = (admission.place.host, admission.place.port)
        admitted = self._admitted.setdefault(place, set())
        admitted.add(admission)
        try:
            yield admission
        finally:
            admitted.discard(admission)
            if not admitted:
                self._admitted.pop(place, None)
                self._end(place)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="livekit gateway")
        self._open[task] = None
        task.add_done_callback(lambda done: self._open.pop(done, None))

    async def aclose(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, place: Place) -> None:
        for task, to in list(self._open.items()):
            if to == place and not self._may_reach(place):
                task.cancel()

    def _may_reach(self, place: Place) -> set[Admission] | None:
        """The admissions to a place, which may be none for the service's own LiveKit; or None."""
        if found := self._admitted.get(place):
            return found
        if self.own is not None and place == (self.own.host, self.own.port):
            return set()
        if place[1] == 443 and place[0].endswith(CLOUD):
            regions = [
                admission
                for (host, _), admitted in self._admitted.items()
                if host.endswith(CLOUD)
                for admission in admitted
            ]
            return {*regions} or None
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
            line, headers = _parsed(head)
            method, target, _ = line.split(" ")
            given = headers.get("proxy-authorization", "").encode()
            if not compare_digest(given, self.authorization):
                _answer(writer, 407)
            elif method == "CONNECT":
                await self._connect(endpoint(f"ws://{target}"), reader, writer)
            elif method == "GET":
                _answer(writer, await self._ask(target, headers))
            else:
                _answer(writer, 405)
        except (ValueError, OSError, TimeoutError, asyncio.IncompleteReadError):
            _answer(writer, 400)
        except asyncio.LimitOverrunError:
            _answer(writer, 431)
        finally:
            await finish(writer)

    async def _connect(
        self, wanted: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        place = (wanted.host, wanted.port)
        admitted = self._may_reach(place)
        if admitted is None:
            log.warning("refused a connection to a server of no session", to=str(wanted))
            _answer(writer, 403)
            return
        self._mark(place)
        try:
            async with asyncio.timeout(CONNECT_S):
                opened = await dial(
                    self._known(wanted, admitted), self.proxies, public_only=_strict(admitted)
                )
        except (NotPublic, CannotConnect, ProxyUnusable, TimeoutError) as error:
            self._connect_failed(admitted, error, writer)
            return
        try:
            there, to = await asyncio.open_connection(sock=opened)
        except BaseException:
            opened.close()
            raise
        for admission in admitted:
            admission.trouble = ""
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay(reader, writer, there, to)

    async def _ask(self, target: str, headers: Mapping[str, str]) -> int:
        """Forward a plain HTTP request of the library; return only the answer's status."""
        parts = urlsplit(target)
        wanted = endpoint(target)
        place = (wanted.host, wanted.port)
        admitted = self._may_reach(place)
        if admitted is None or parts.scheme != "http" or not parts.path.endswith(QUESTIONS):
            return 403
        self._mark(place)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        token = headers.get("authorization", "")
        try:
            async with asyncio.timeout(CONNECT_S):
                answer = await get(
                    wanted,
                    path,
                    self.proxies,
                    read=0,
                    public_only=_strict(admitted),
                    authorization=token,
                )
        except (NotPublic, CannotConnect, ProxyUnusable, CertificateRefused, NotSpoken, OSError):
            return 502
        redirected = 300 <= answer.status < 400
        return 502 if redirected or answer.status < 200 else answer.status

    def _mark(self, place: Place) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open[task] = place

    def _known(self, wanted: Endpoint, admitted: set[Admission]) -> Endpoint:
        """Adds what the library does not tell a proxy: whether TLS follows."""
        own = self.own is not None and self.own.secure and wanted.host == self.own.host
        secure = any(each.place.secure for each in admitted) or (not admitted and own)
        return Endpoint(wanted.host, wanted.port, secure)

    def _connect_failed(
        self, admitted: set[Admission], error: Exception, writer: asyncio.StreamWriter
    ) -> None:
        words = {NotPublic: "its address is not public", TimeoutError: "no answer"}
        for admission in admitted:
            admission.trouble = words.get(type(error)) or str(error)
        _answer(writer, 403 if isinstance(error, NotPublic) else 502)


@asynccontextmanager
async def open_gateway(own_url: str) -> AsyncIterator[Gateway]:
    """A gateway for this process, which LiveKit's library finds in the environment.

    A process has one at a time, always at the same address, because the library keeps the address
    of its first request. Other libraries still see the previous environment: they read the
    lower-case names first, LiveKit's reads the upper-case ones.
    """
    global _address
    port, password = _address or (0, secrets.token_urlsafe(24))
    expected = b"Basic " + b64encode(f"livekit:{password}".encode())
    own = endpoint(own_url) if own_url else None
    gateway = Gateway(current_proxies(), own, expected)
    server = await _listening(gateway, port)
    port = server.sockets[0].getsockname()[1]
    _address = port, password
    with proxies_kept(), _environment(f"http://livekit:{password}@127.0.0.1:{port}"):
        try:
            yield gateway
        finally:
            server.close()
            await gateway.aclose()


_address: tuple[int, str] | None = None  # port and password


async def _listening(gateway: Gateway, port: int) -> asyncio.Server:
    """Listen on `port`, or on any free port."""
    with contextlib.suppress(OSError):
        return await asyncio.start_server(gateway.serve, "127.0.0.1", port, limit=LONGEST_REQUEST)
    return await asyncio.start_server(gateway.serve, "127.0.0.1", 0, limit=LONGEST_REQUEST)


@contextmanager
def _environment(address: str) -> Iterator[None]:
    before = {form: os.environ.get(form) for name in NAMES for form in (name, name.lower())}
    for name in NAMES:
        os.environ[name.lower()] = before[name.lower()] or before[name] or ""
        os.environ[name] = "" if name in ("ALL_PROXY", "NO_PROXY") else address
    try:
        yield
    finally:
        for form, value in before.items():
            if value is None:
                os.environ.pop(form, None)
            else:
                os.environ[form] = value


def _strict(admitted: set[Admission]) -> bool:
    """Whether to connect to public addresses only; one unrestricted admission lifts that."""
    return bool(admitted) and all(each.public_only for each in admitted)


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines[1:] if line)
    return lines[0], {name.strip().lower(): value.strip() for name, _, value in fields}


def _answer(writer: asyncio.StreamWriter, status: int) -> None:
    with contextlib.suppress(OSError, RuntimeError):
        writer.write(
            f"HTTP/1.1 {status} Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
