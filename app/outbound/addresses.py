"""Canonical hosts and addresses, and which of them are public."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import SplitResult, quote, urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_OF_ADDRESSES = re.compile(r"[\d.*?]*\d[\d.*?]*(:[\d*?]+)?")  # IPv6 forms match no name anyway
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")  # a URL's host that must parse as an address

# Registered as global, yet they lead into a cloud's or a site's own network: metadata of Azure and
# Oracle, private ranges of carriers and sites, a network's own NAT64 prefix.
_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("168.63.129.16/32", "192.0.0.0/24", "100.64.0.0/10"),
        *("fec0::/10", "64:ff9b:1::/48"),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and port, and whether it speaks TLS."""

    host: str  # canonical: a lower-case name, dotted IPv4 or compressed IPv6
    port: int
    secure: bool

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def matches(self, pattern: str) -> bool:
        """Whether a pattern of `VOIPAVATAR_LIVEKIT_HOSTS` matches: `host` or `host:port`.

        A pattern of addresses matches no name, since anybody may own `10.0.0.evil.example`.
        """
        if _OF_ADDRESSES.fullmatch(pattern) and not _is_address(self.host):
            return False
        bare = f"[{self.host}]" if ":" in self.host else self.host
        return any(fnmatchcase(form, _literal(pattern)) for form in (self.host, bare, str(self)))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _literal(pattern: str) -> str:
    """Escapes brackets, which here enclose IPv6 addresses and never a set of characters."""
    return pattern.replace("[", "[[]")


def endpoint(url: str) -> Endpoint:
    """The endpoint of a ws, wss, http or https URL. Raises ValueError."""
    parts = urlsplit(url)
    secure = parts.scheme in ("wss", "https")
    return Endpoint(canonical_host(parts), parts.port or (443 if secure else 80), secure)


def canonical_host(parts: SplitResult) -> str:
    """A host in the form that LiveKit's library resolves, also for `0177.1` and `2130706433`.

    Raises ValueError if it is no host, or ambiguous.
    """
    host = (parts.hostname or "").removesuffix(".")
    if ":" in host:
        if "%" in host:
            raise ValueError("must not name a network interface")
        return str(ipaddress.IPv6Address(host))
    if _NUMBER.fullmatch(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            raise ValueError("must name a host") from None
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise ValueError("must name a host in ASCII (xn--… for other letters)")
    return host


def canonical_url(url: str) -> str:
    """`ws` or `wss`, the canonical host, the port unless it is the default, and the path.

    Raises ValueError.
    """
    parts, place = urlsplit(url), endpoint(url)
    scheme = "wss" if place.secure else "ws"
    usual = place.port == (443 if place.secure else 80)
    host = str(place).rsplit(":", 1)[0] if usual else str(place)
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~-._")
    return f"{scheme}://{host}{path}"


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet and not to this machine, its network or cloud.

    An IPv4 address embedded in an IPv6 one is judged by itself.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return all(
        each.is_global
        and not (each.is_multicast or each.is_reserved or each.is_unspecified)
        and not any(each in network for network in _LOCAL)
        for each in (inner_addresses(parsed) or (parsed,))
    )


def inner_addresses(address: IPAddress) -> tuple[IPAddress, ...]:
    """The IPv4 addresses embedded in an IPv6 address, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()


def is_loopback_host(host: str) -> bool:
    """Whether a canonical host is this machine, judged without resolving it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    return all(each.is_loopback for each in (inner_addresses(parsed) or (parsed,)))
