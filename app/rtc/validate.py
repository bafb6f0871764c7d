"""Asks LiveKit whether it would let a token in, before anything is begun."""

from __future__ import annotations

import asyncio

import httpx

from app.errors import LiveKitTokenRejected, LiveKitUnreachable

PATIENCE_S = 3.0  # contract.md: at most


async def ask_livekit(livekit_url: str, token: str, *, ours: bool) -> None:
    """Returns when LiveKit accepts the token.

    Raises:
        LiveKitUnreachable: nothing that speaks LiveKit answered in time.
        LiveKitTokenRejected: it refused; `ours` tells whose keys to look at.
    """
    address = livekit_url.replace("ws", "http", 1) + "/rtc/validate"
    try:
        # The environment's proxies are not for it: the SDK that joins later ignores them too.
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(address, params={"access_token": token})
    except (httpx.HTTPError, OSError, TimeoutError) as error:
        # Its address carries the token, so the library's own words are not passed on.
        raise LiveKitUnreachable(
            f"LiveKit at {livekit_url} did not answer ({type(error).__name__}). "
            + ("Start it, or set LIVEKIT_URL." if ours else "Look at `livekit.url`.")
        ) from None
    if answer.status_code == 200:
        return
    if answer.status_code in (400, 401, 403, 404):
        remedy = "Set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to its own." if ours else ""
        raise LiveKitTokenRejected(
            f"LiveKit at {livekit_url} refused the token ({answer.status_code}). {remedy}".rstrip()
        )
    raise LiveKitUnreachable(
        f"LiveKit at {livekit_url} answered {answer.status_code} when asked about the token."
    )
