"""One GET with an untrusted answer: not decompressed, no redirects, read up to a limit."""

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
    """The server's certificate is not trusted; the message says why and gives a remedy."""


class NotSpoken(Exception):
    """The server does not speak the expected protocol."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case; the last of repeated ones
    beginning: bytes  # of the body, unless it is compressed


async def get(
    place: Endpoint,
    target: str,
    proxies: Proxies,
    *,
    read: int,
    public_only: bool,
    authorization: str = "",
) -> Answer:
    """GET a target: a path and query that need no quoting. The caller limits the time.

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
        raise NotSpoken("does not speak TLS: check the URL, ws:// or wss://") from None
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
        writer.transport.abort()  # anything else it sends is ignored
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, read: int) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    if 100 <= status_of(head) < 200:  # an interim response, accepted once
        head = await reader.readuntil(b"\r\n\r\n")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    packed = headers.get("content-encoding", "identity").lower() != "identity"
    beginning = b"" if packed else await _beginning(reader, read, headers.get("content-length"))
    return Answer(status_of(head), headers, beginning)


async def _beginning(reader: asyncio.StreamReader, read: int, length: str | None) -> bytes:
    """What arrives of a body within BODY_S; the status alone is enough, so errors are ignored."""
    wanted = min(read, int(length)) if length and length.isdecimal() else read
    found = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(BODY_S):
            while len(found) < wanted and (more := await reader.read(wanted - len(found))):
                found += more
    return found


@cache
def trusted() -> ssl.SSLContext:
    """The system's certificate authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR, which
    LiveKit's library reads too. Cached, because loading takes longer than a frame."""
    return ssl.create_default_context()


def certificate_trouble(error: ssl.SSLCertVerificationError) -> str:
    """One sentence with its remedy."""
    if error.verify_code in CERTIFICATE_OF_ANOTHER:
        return "is for another name: use the certificate's name in the URL."
    if error.verify_code == EXPIRED:
        return "has expired: renew it, or set this machine's clock."
    return (
        f"is not trusted ({error.verify_message}): set SSL_CERT_FILE to a file with the "
        "certificate of the authority that signed it."
    )
