"""One GET whose answer is not trusted: not unpacked, not followed, read no further than said."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from functools import cache

from app.outbound.addresses import Endpoint
from app.outbound.dial import LONGEST_HEAD, dial, status_of
from app.outbound.proxies import Proxies

CERTIFICATE_OF_ANOTHER = frozenset({62, 63, 64})  # OpenSSL's X509_V_ERR_…_MISMATCH
EXPIRED = 10
BODY_S = 0.5


class CertificateRefused(Exception):
    """The server's certificate is not one to trust: why, and what mends it."""


class NotSpoken(Exception):
    """What answered does not speak what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case; of a repeated one the last
    beginning: bytes  # of the body as it came; empty where it is packed


async def get(
    place: Endpoint,
    target: str,
    proxies: Proxies,
    *,
    read: int,
    public_only: bool,
    authorization: str = "",
) -> Answer:
    """GET a target: a path and query that need no quoting. The caller limits how long it takes.

    Raises NotPublic, CannotConnect, ProxyUnusable, CertificateRefused, NotSpoken, OSError.
    """
    context = await asyncio.to_thread(trusted) if place.secure else None
    opened = await dial(place, proxies, public_only=public_only)
    try:
        reader, writer = await asyncio.open_connection(
            sock=opened,
            ssl=context,
            server_hostname=place.host if context else None,
            limit=LONGEST_HEAD,
        )
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(certificate_trouble(error)) from None
    except ssl.SSLError:
        raise NotSpoken("does not speak TLS: look at the URL, ws:// or wss://") from None
    except BaseException:
        opened.close()
        raise
    try:
        credentials = f"Authorization: {authorization}\r\n" if authorization else ""
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: voipavatar\r\n{credentials}"
            "Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        return await _answer(reader, read)
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise NotSpoken("does not answer in HTTP/1.1") from None
    finally:
        writer.transport.abort()  # whatever else it sends is not waited for
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, read: int) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    if 100 <= status_of(head) < 200:  # told beforehand, at most once
        head = await reader.readuntil(b"\r\n\r\n")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    packed = headers.get("content-encoding", "identity").lower() != "identity"
    beginning = b"" if packed else await _beginning(reader, read, headers.get("content-length"))
    return Answer(status_of(head), headers, beginning)


async def _beginning(reader: asyncio.StreamReader, read: int, length: str | None) -> bytes:
    """What has come of a body after a moment: the status is known, and not worth less without."""
    wanted = min(read, int(length)) if length and length.isdecimal() else read
    found = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(BODY_S):
            while len(found) < wanted and (more := await reader.read(wanted - len(found))):
                found += more
    return found


@cache
def trusted() -> ssl.SSLContext:
    """Whom we trust: the system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR, which
    LiveKit's library reads too. Read once: it takes longer than a session's frame."""
    return ssl.create_default_context()


def certificate_trouble(error: ssl.SSLCertVerificationError) -> str:
    """One sentence and what mends it."""
    if error.verify_code in CERTIFICATE_OF_ANOTHER:
        return "is for another name: use the name that it is made for in the URL."
    if error.verify_code == EXPIRED:
        return "has expired: renew it, or set this machine's clock."
    return (
        f"is not trusted ({error.verify_message}): set SSL_CERT_FILE to a file with the "
        "certificate of the authority that signed it."
    )
