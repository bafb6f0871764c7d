"""Which LiveKit servers callers may name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from app.config import Settings
from app.errors import Forbidden
from app.outbound.addresses import endpoint

NOT_LISTED = (
    "`livekit.url` is not one of the servers that this service joins: ask its operator to add the "
    "host to VOIPAVATAR_LIVEKIT_HOSTS."
)
NOT_PUBLIC = (
    "`livekit.url` leads to an address that is not public: ask the service's operator to add the "
    "host to VOIPAVATAR_LIVEKIT_HOSTS."
)


class Targets:
    """VOIPAVATAR_LIVEKIT_HOSTS, and the refusal of addresses that are not public.

    The service's own LiveKit is always allowed. Before the first key exists, all callers are on
    this machine and can reach what it reaches anyway.
    """

    def __init__(self, settings: Settings, has_keys: Callable[[], Awaitable[bool]]) -> None:
        self._own = endpoint(settings.livekit_url)
        self._patterns = tuple(pattern.lower() for pattern in settings.livekit_hosts)
        self._has_keys = has_keys

    async def public_only(self, url: str) -> bool:
        """Whether a caller's URL may lead to public addresses only. Raises Forbidden if it is not
        on the list."""
        place = endpoint(url)
        if (place.host, place.port) == (self._own.host, self._own.port):
            return False
        if any(place.matches(pattern) for pattern in self._patterns):
            return False
        if self._patterns:
            raise Forbidden(NOT_LISTED)
        return await self._has_keys()
