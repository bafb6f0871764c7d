"""Whether a request comes from this machine directly or through a proxy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from starlette.datastructures import Headers

from app.errors import BadRequest

# RFC 9110, 7.2 and RFC 3986, 3.2.2: a name, an IPv4 address, or an IPv6 address in brackets.
_HOST = re.compile(
    r"(?P<name>[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?", re.ASCII
)
# Headers that proxies add, under all the names in use.
_FORWARDING = re.compile(
    r"(.*-)?via|forwarded|.*forwarded.*"
    r"|.*(client|real|remote|connecting|originating|cluster|source|trusted"
    r"|user|peer)[-_]?(ip|addr|address|host|port)"
    r"|(x-)?(original|rewrite|remote|proxy|envoy|amzn?|arr|azure|appengine|goog|cloud|akamai"
    r"|fastly|varnish|vercel|nf|fly|cf|tailscale|cloudfront|ngrok|traefik|haproxy|kong)[-_].*"
    r"|x-(http-|backend-)?host(-override)?|x-auth-request-.*|x-(request|queue)-start"
    r"|cdn-loop|max-forwards|x-coming-from|(x-|x-url-)scheme|front-end-https"
)


def host_named(headers: Headers, http_version: str = "1.1") -> str:
    """The name or address in `Host`, lower case, without brackets and port.

    Raises BadRequest as RFC 9112, 3.2 asks: for a `Host` that is malformed, given twice or missing
    in HTTP/1.1.
    """
    given = headers.getlist("host")
    if len(given) > 1:
        raise BadRequest("The request has more than one `Host` header.")
    if not given:
        if http_version == "1.0":
            return ""
        raise BadRequest("The request has no `Host` header.")
    matched = _HOST.fullmatch(given[0].strip())
    if matched is None:
        raise BadRequest("The `Host` header is malformed.")
    name = matched["name"].lower()
    if not name.startswith("["):
        return name
    try:
        return str(ipaddress.IPv6Address(name[1:-1]))
    except ValueError:
        raise BadRequest("The `Host` header is malformed.") from None


def is_this_machine(headers: Headers, client: str | None, http_version: str = "1.1") -> bool:
    """Whether the caller is on this machine and connects directly, not through a local proxy.

    A web page in a local browser can make its own name resolve to 127.0.0.1 (DNS rebinding), so
    `Host` must be loopback or localhost too. HTTP/1.0 is refused because nginx uses it by default,
    without a header that names the caller.
    """
    return (
        is_loopback(client)
        and http_version != "1.0"
        and names_loopback(headers.get("host", ""))
        and not forwarded(headers.keys())
    )


def names_loopback(host: str) -> bool:
    """Whether a `Host` header names this machine. An empty one does not: a proxy may have
    emptied it."""
    matched = _HOST.fullmatch(host.strip())
    if matched is None:
        return False
    name = matched["name"].lower().strip("[]").removesuffix(".")
    return name == "localhost" or is_loopback(name)


def forwarded(names: Iterable[str]) -> bool:
    """Whether any of these header names shows that a proxy forwarded the request."""
    return any(_FORWARDING.fullmatch(name.lower()) for name in names)


def is_loopback(address: str | None) -> bool:
    """Whether `address` is this machine; None is a Unix socket, which is."""
    if address is None:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
