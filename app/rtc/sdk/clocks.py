"""Compares this machine's clock with LiveKit's, since tokens are valid for a limited time.

Every HTTP answer of LiveKit states its time (`Date`, to the second).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from app.config import Settings
from app.errors import ClockSkew, LiveKitTokenRejected
from app.outbound.addresses import endpoint
from app.outbound.dial import CannotConnect, NotPublic
from app.outbound.fetch import CertificateRefused, NotSpoken, get
from app.outbound.proxies import ProxyUnusable, current_proxies
from app.rtc.sdk.tokens import AVATAR_TTL, LEEWAY_S, read_claims

SECOND = 1.0  # precision of the comparison
FRESH_S = (
    30.0  # a comparison is repeated after this time; LiveKit may have moved to another machine
)
PATIENCE_S = 1.0
AGAIN_S = 2.0  # after LiveKit did not answer
_UNKNOWN = (NotPublic, CannotConnect, ProxyUnusable, CertificateRefused, NotSpoken)


def ahead_s(headers: Mapping[str, str]) -> float | None:
    """How far this clock is ahead of the answering server's; None if the answer has no date."""
    try:
        theirs = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return time.time() - theirs - SECOND / 2


def require_good_clock(ahead: float | None, livekit_url: str) -> None:
    """Raises ClockSkew if LiveKit would accept no token issued now."""
    if ahead is None:
        return
    too_early = ahead > LEEWAY_S - SECOND
    too_late = -ahead > AVATAR_TTL.total_seconds() + LEEWAY_S - SECOND
    if too_early or too_late:
        raise ClockSkew(
            f"This machine's clock is {abs(ahead):.0f} s {'ahead of' if too_early else 'behind'} "
            f"that of LiveKit at {livekit_url}, which therefore refuses our tokens. Set the wrong "
            "clock, for example with `timedatectl set-ntp true`."
        )


def require_time_left(token: str, headers: Mapping[str, str]) -> None:
    """Raises LiveKitTokenRejected if a token was refused because of its times.

    Judged by the clock of the LiveKit that refused it, since this machine's may be wrong.
    """
    claims, now = read_claims(token), time.time() - (ahead_s(headers) or 0.0)
    if claims.expires is not None and claims.expires + LEEWAY_S - SECOND < now:
        raise LiveKitTokenRejected("The token has expired: create a new one.")
    if claims.begins is not None and claims.begins - LEEWAY_S + SECOND > now:
        raise LiveKitTokenRejected(
            "The token is not valid yet: check its `nbf`, and the clock of the machine that "
            "issued it."
        )


class ClockCheck:
    """Compares the clock with the service's own LiveKit, for `/ready`; passes if that is silent.

    Anybody may call `/ready`, so LiveKit is not asked each time. A step of this clock still shows
    at once, because the monotonic clock does not take part in it.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.livekit_url
        self._makes_tokens = bool(settings.livekit_api_key)
        self._asking = asyncio.Lock()
        self._asked: float | None = None
        self._apart: float | None = None  # LiveKit's clock minus the monotonic one

    async def __call__(self) -> None:
        """Raises ClockSkew."""
        if not self._makes_tokens:
            return
        try:
            self._require()
        except ClockSkew:
            self._asked = None  # LiveKit's clock may have been corrected
        async with self._asking:
            fresh_s = AGAIN_S if self._apart is None else FRESH_S
            if self._asked is None or time.monotonic() - self._asked > fresh_s:
                ahead = await _compare(self._url)
                self._asked = time.monotonic()
                self._apart = None if ahead is None else time.time() - ahead - self._asked
        self._require()

    def _require(self) -> None:
        if self._apart is not None:
            require_good_clock(time.time() - self._apart - time.monotonic(), self._url)


async def _compare(livekit_url: str) -> float | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            place = endpoint(livekit_url)
            answer = await get(place, "/", current_proxies(), read=0, public_only=False)
    except (*_UNKNOWN, OSError, TimeoutError, ValueError):
        return None
    return ahead_s(answer.headers)
