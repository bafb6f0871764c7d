"""Asks LiveKit whether it would accept a token, before a session starts."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, urlsplit

from app.errors import (
    Forbidden,
    LiveKitTokenRejected,
    LiveKitUnreachable,
    shortage_problem,
)
from app.outbound.addresses import endpoint
from app.outbound.dial import CannotConnect, NotPublic
from app.outbound.fetch import Answer, CertificateRefused, NotSpoken, get
from app.outbound.proxies import ProxyUnusable, current_proxies
from app.outbound.targets import NOT_PUBLIC
from app.rtc.sdk.clocks import ahead_s, require_good_clock, require_time_left

PATIENCE_S = 3.0  # the longest wait for an answer: contract.md, Sessions
NO_ROOM = b"room does not exist"  # livekit-server 1.13, if joining does not create rooms
ENOUGH = 256  # bytes of the body to search for it
REFUSED = (400, 401, 403)
OURS = "Set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to its own."
THEIRS = "Make it with an API key and secret of that server."


async def ask_livekit(
    livekit_url: str, token: str, *, ours: bool, public_only: bool = False
) -> None:
    """Returns if LiveKit accepts the token.

    The server's own text is neither shown nor stored: a URL may lead to something else.

    Raises:
        Forbidden: `public_only`, and the URL leads to an address that is not public.
        LiveKitUnreachable: nothing that speaks LiveKit answered in time.
        LiveKitTokenRejected: LiveKit refused the token; `ours` selects the remedy.
        ClockSkew: LiveKit refused a token of ours because the clocks differ.
        ResourcesExhausted: there is no socket left.
    """
    where = "LIVEKIT_URL" if ours else "the URL"
    try:
        answer = await _ask(livekit_url, token, public_only)
    except NotPublic:
        raise Forbidden(NOT_PUBLIC) from None
    except ProxyUnusable as error:
        raise LiveKitUnreachable(f"LiveKit at {livekit_url} is out of reach. {error}") from None
    except CertificateRefused as error:
        raise LiveKitUnreachable(f"The certificate of LiveKit at {livekit_url} {error}") from None
    except NotSpoken as error:
        raise LiveKitUnreachable(f"What answers at {livekit_url} {error}.") from None
    except ValueError as error:  # the service's or a command's URL; callers' were checked before
        raise LiveKitUnreachable(f"{where} {error}.") from None
    except (CannotConnect, OSError, TimeoutError) as error:
        if (shortage := shortage_problem(error)) is not None:  # local: LiveKit was never asked
            raise shortage from None
        reason = str(error) if isinstance(error, CannotConnect) else _reason(error)
        raise LiveKitUnreachable(
            f"LiveKit at {livekit_url} did not answer ({reason}). "
            + ("Start it, or set LIVEKIT_URL." if ours else "Check the URL.")
        ) from None
    if answer.status in REFUSED:
        if ours:
            require_good_clock(ahead_s(answer.headers), livekit_url)
        else:
            require_time_left(token, answer.headers)
    _judge(answer, livekit_url, where, ours)


async def _ask(livekit_url: str, token: str, public_only: bool) -> Answer:
    place, path = endpoint(livekit_url), urlsplit(livekit_url).path.rstrip("/")
    target = f"{path}/rtc/validate?access_token={quote(token, safe='')}"
    proxies = current_proxies()
    async with asyncio.timeout(PATIENCE_S):
        return await get(place, target, proxies, read=ENOUGH, public_only=public_only)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"not within {PATIENCE_S:g} s"
    return "the connection was lost"


def _judge(answer: Answer, livekit_url: str, where: str, ours: bool) -> None:
    status = answer.status
    if status == 200:
        return
    if status == 404 and NO_ROOM in answer.beginning:
        raise LiveKitTokenRejected(
            f"LiveKit at {livekit_url} has no room of that name and does not create rooms on "
            "joining: create it first."
        )
    if status in REFUSED:
        raise LiveKitTokenRejected(
            f"LiveKit at {livekit_url} refused the token ({status}). {OURS if ours else THEIRS}"
        )
    if status < 500 and status != 429:
        raise LiveKitUnreachable(
            f"What answers at {livekit_url} is not LiveKit ({status}): check {where}."
        )
    raise LiveKitUnreachable(
        f"LiveKit at {livekit_url} answered {status} when asked about the token."
    )
