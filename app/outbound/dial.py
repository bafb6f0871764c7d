"""Opens a TCP connection: resolves once, checks the addresses, and uses a proxy if one is set."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from app.outbound.addresses import Endpoint, is_public
from app.outbound.proxies import Proxies, Proxy, ProxyUnusable

TRY_S = 1.0  # per address of a host, except the last
LONGEST_HEAD = 16_384  # bytes of a proxy's answer

Address = tuple[socket.AddressFamily, str]


class NotPublic(Exception):
    """The host is, or resolves to, an address that is not public."""


class CannotConnect(Exception):
    """No address accepted the connection; the message is the reason."""


async def dial(place: Endpoint, proxies: Proxies, *, public_only: bool) -> socket.socket:
    """A connected socket, without TLS. The caller limits the time.

    `public_only` refuses a host if any of its addresses is not public. The connection goes to a
    checked address, so that a name that resolves differently a moment later gains nothing. With a
    proxy, names that do not resolve here are left to the proxy.

    Raises NotPublic, CannotConnect, ProxyUnusable.
    """
    proxy = proxies.towards(place)
    if proxy is not None:
        if public_only:
            with contextlib.suppress(CannotConnect):
                require_public(await resolve(place.host))
        return await _through(proxy, place)
    found = await resolve(place.host)
    if public_only:
        require_public(found)
    return await _connected(found, place.port)


async def resolve(host: str) -> list[Address]:
    """All addresses of a host. Raises CannotConnect, or OSError if no socket is left."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # A resolver without sockets fails alike; opening one tells the cases apart (OSError).
        socket.socket().close()
        raise CannotConnect("its name does not resolve") from None
    return [(family, str(address[0])) for family, _, _, _, address in found]


def require_public(addresses: Sequence[Address]) -> None:
    """Raises NotPublic unless all addresses are public."""
    if not all(is_public(address) for _, address in addresses):
        raise NotPublic


async def _connected(addresses: Sequence[Address], port: int) -> socket.socket:
    reason = "it has no address"
    for number, (family, address) in enumerate(addresses, 1):
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        opened.setblocking(False)
        try:
            async with asyncio.timeout(TRY_S if number < len(addresses) else None):
                await asyncio.get_running_loop().sock_connect(opened, (address, port))
            return opened
        except (OSError, TimeoutError) as error:
            opened.close()
            reason = _reason(error)
        except BaseException:
            opened.close()
            raise
    raise CannotConnect(reason)


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    return (error.strerror or type(error).__name__).lower()


async def _through(proxy: Proxy, place: Endpoint) -> socket.socket:
    try:
        opened = await _connected(await resolve(proxy.host), proxy.port)
    except CannotConnect as error:
        raise ProxyUnusable(
            f"The proxy {proxy} cannot be reached: {error}. Set {proxy.variable}, or name the host "
            "in NO_PROXY."
        ) from None
    try:
        status = await _tunnel(opened, proxy, place)
    except (OSError, ValueError):
        status = 0
    except BaseException:
        opened.close()
        raise
    if 200 <= status < 300:
        return opened
    opened.close()
    answer = f"answered {status}" if status else "did not answer as an HTTP proxy does"
    remedy = "its user and password" if status == 407 else "which hosts it allows"
    raise ProxyUnusable(
        f"The proxy {proxy} {answer} when asked for {place}. Check {remedy}, or name the host in "
        "NO_PROXY."
    )


async def _tunnel(opened: socket.socket, proxy: Proxy, place: Endpoint) -> int:
    """Ask the proxy for a tunnel; returns the status. Raises OSError, ValueError."""
    loop = asyncio.get_running_loop()
    head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{proxy.authorization()}\r\n"
    await loop.sock_sendall(opened, head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = await loop.sock_recv(opened, 4096)
        answer += more
        if not more or len(answer) > LONGEST_HEAD:
            raise ValueError("the answer has no HTTP head")
    head_end = answer.index(b"\r\n\r\n") + 4
    status = status_of(answer)
    if status < 300 and head_end != len(answer):
        raise ValueError("the proxy sent bytes before the tunnel was used")
    return status


def status_of(head: bytes) -> int:
    """The status in the first line of an HTTP answer. Raises ValueError."""
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("not an HTTP/1 answer")
    return int(rest[:3])
