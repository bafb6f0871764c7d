"""Proxies from the environment, interpreted the same way for every outgoing connection.

LiveKit's library reads HTTP_PROXY and HTTPS_PROXY itself, but neither ALL_PROXY nor, for its
websocket, NO_PROXY.
"""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from app.outbound.addresses import Endpoint, is_loopback_host

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class ProxyUnusable(Exception):
    """A proxy's setting is unusable, or the proxy refused the connection."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, and the variable that names it."""

    variable: str
    host: str
    port: int
    credentials: str = field(default="", repr=False)  # `user:password`

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port} (named by {self.variable})"

    def authorization(self) -> str:
        encoded = b64encode(self.credentials.encode()).decode()
        return f"Proxy-Authorization: Basic {encoded}\r\n" if self.credentials else ""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy settings; an upper-case variable wins over its lower-case form."""

    plain: tuple[str, str] = ("", "")  # variable and value, for ws and http
    secure: tuple[str, str] = ("", "")  # for wss and https
    direct: tuple[str, ...] = ()  # entries of NO_PROXY

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Proxies:
        direct = _first(environment, "NO_PROXY")[1].lower().replace(",", " ").split()
        plain = _first(environment, "HTTP_PROXY", "ALL_PROXY")
        secure = _first(environment, "HTTPS_PROXY", "ALL_PROXY")
        return cls(plain, secure, tuple(direct))

    def towards(self, place: Endpoint) -> Proxy | None:
        """The proxy for a place; None for this machine and for what NO_PROXY names.

        Raises ProxyUnusable.
        """
        variable, value = self.secure if place.secure else self.plain
        if not value or is_loopback_host(place.host) or self._is_direct(place):
            return None
        return _parsed(variable, value)

    def _is_direct(self, place: Endpoint) -> bool:
        return any(_names(entry, place) for entry in self.direct)


_kept: list[Proxies] = []


def current_proxies() -> Proxies:
    """From the environment that this process was started with."""
    return _kept[-1] if _kept else Proxies.of(os.environ)


@contextmanager
def proxies_kept() -> Iterator[None]:
    """Keep the current proxies in force while a gateway replaces them in the environment."""
    _kept.append(current_proxies())
    try:
        yield
    finally:
        _kept.pop()


def _first(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        for form in (name, name.lower()):
            if value := environment.get(form, "").strip():
                return form, value
    return "", ""


def _parsed(variable: str, value: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:
        raise ProxyUnusable(f"{variable} is not a URL: set it to http://HOST:PORT.") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ProxyUnusable(f"{variable} must name an HTTP proxy: set it to http://HOST:PORT.")
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    credentials = f"{name}:{password}" if name or password else ""
    return Proxy(variable, parts.hostname, port or 80, credentials)


def _names(entry: str, place: Endpoint) -> bool:
    """Whether an entry of NO_PROXY matches: `*`, a domain and its subdomains, an address or a
    network, each with an optional port."""
    if entry == "*":
        return True
    host, port = _split_port(entry)
    if port and port != str(place.port):
        return False
    try:
        return ipaddress.ip_address(place.host) in ipaddress.ip_network(host, strict=False)
    except ValueError:
        name = host.removeprefix("*").strip(".")
        return bool(name) and (place.host == name or place.host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    host, colon, port = entry.rpartition(":")
    return (host, port) if colon and ":" not in host and port.isdecimal() else (entry, "")
