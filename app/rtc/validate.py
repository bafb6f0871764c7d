"""Asks LiveKit whether it would let a token in, before anything is begun."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache

import httpx

from app.errors import LiveKitTokenRejected, LiveKitUnreachable

PATIENCE_S = 3.0  # contract.md: at most
NO_ROOM = b"room does not exist"  # livekit-server 1.13, where rooms are not made by joining
ENOUGH = 256  # bytes to find that in
OURS = "Set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to its own."
THEIRS = "Make it with an API key and secret of that server."


async def ask_livekit(livekit_url: str, token: str, *, ours: bool) -> None:
    """Returns when LiveKit accepts the token.

    Raises:
        LiveKitUnreachable: nothing that speaks LiveKit answered in time.
        LiveKitTokenRejected: it refused; `ours` tells whose keys to look at.
    """
    address = livekit_url.replace("ws", "http", 1) + "/rtc/validate"
    where = "LIVEKIT_URL" if ours else "the URL"
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            await _client(address) as client,
            # Its body is not read on: a stranger's may be endless.
            client.stream("GET", address, params={"access_token": token}) as answer,
        ):
            status = answer.status_code
            missing = status == 404 and NO_ROOM in await _beginning(answer)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
        # Its address carries the token, so the library's own words are not passed on.
        raise LiveKitUnreachable(
            f"LiveKit at {livekit_url} did not answer ({type(error).__name__}). "
            + ("Start it, or set LIVEKIT_URL." if ours else "Look at the URL.")
        ) from None
    if status == 200:
        return
    if missing:
        raise LiveKitTokenRejected(
            f"LiveKit at {livekit_url} has no room of that name, and makes none for those who "
            "join: create it first."
        )
    if status in (400, 401, 403):
        raise LiveKitTokenRejected(
            f"LiveKit at {livekit_url} refused the token ({status}). {OURS if ours else THEIRS}"
        )
    if status < 500 and status != 429:
        raise LiveKitUnreachable(
            f"What answers at {livekit_url} is not LiveKit ({status}): look at {where}."
        )
    raise LiveKitUnreachable(
        f"LiveKit at {livekit_url} answered {status} when asked about the token."
    )


async def _beginning(answer: httpx.Response) -> bytes:
    async for piece in answer.aiter_bytes(ENOUGH):
        return piece
    return b""


async def _client(address: str) -> httpx.AsyncClient:
    # The environment's proxies are not for it: the SDK that joins later ignores them too.
    secure = address.startswith("https:")
    verify = await asyncio.to_thread(_certificates) if secure else False
    return httpx.AsyncClient(trust_env=False, verify=verify)


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes longer than a session's frame."""
    return ssl.create_default_context()
