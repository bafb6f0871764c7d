"""Looks participants up in the service's own LiveKit, through its RoomService."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
from livekit import api

from app.config import Settings
from app.errors import LiveKitUnreachable
from app.outbound.addresses import endpoint
from app.outbound.fetch import trusted
from app.outbound.proxies import ProxyUnusable, current_proxies
from app.rtc.sdk.tokens import token_maker

PATIENCE_S = 3.0
TTL = timedelta(minutes=1)


async def is_in_room(settings: Settings, livekit_url: str, room: str, identity: str) -> bool:
    """Whether a participant with that identity is in the room, hidden or not.

    Raises LiveKitUnreachable, or LiveKitTokenRejected if the service has no LiveKit key.
    """
    grants = api.VideoGrants(room_admin=True, room=room)
    token = token_maker(settings).with_ttl(TTL).with_grants(grants).to_jwt()
    secure = livekit_url.startswith("wss:")
    certificates = await asyncio.to_thread(trusted) if secure else False
    base = livekit_url.replace("ws", "http", 1)
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(
                trust_env=False, proxy=_proxy(livekit_url), verify=certificates
            ) as http,
        ):
            answer = await http.post(
                f"{base}/twirp/livekit.RoomService/GetParticipant",
                json={"room": room, "identity": identity},
                headers={"authorization": f"Bearer {token}"},
            )
            code = answer.json().get("code") if answer.status_code == 404 else None
    except (httpx.HTTPError, OSError, TimeoutError, ValueError, AttributeError) as error:
        raise _unknown(livekit_url, type(error).__name__) from None
    except ProxyUnusable as error:
        raise _unknown(livekit_url, str(error)) from None
    if answer.status_code == 200:
        return True
    if code == "not_found":  # no such participant or room
        return False
    raise _unknown(livekit_url, str(answer.status_code))


def _proxy(livekit_url: str) -> httpx.Proxy | None:
    found = current_proxies().towards(endpoint(livekit_url))
    if found is None:
        return None
    name, _, password = found.credentials.partition(":")
    host = urlsplit(f"//[{found.host}]" if ":" in found.host else f"//{found.host}").netloc
    return httpx.Proxy(
        f"http://{host}:{found.port}", auth=(name, password) if found.credentials else None
    )


def _unknown(livekit_url: str, reason: str) -> LiveKitUnreachable:
    return LiveKitUnreachable(
        f"LiveKit at {livekit_url} did not say who is in the room ({reason}): make its RoomService "
        "reachable there, or leave `identity` out."
    )
