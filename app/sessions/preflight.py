"""Checks with LiveKit before a session is created."""

from __future__ import annotations

from app.config import Settings
from app.db.api_keys import list_keys
from app.db.database import Database
from app.outbound.targets import Targets
from app.rtc.sdk.validate import ask_livekit


class Preflight:
    """Checks whether a session may use a LiveKit server, and whether that admits it."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._targets = Targets(settings, self._has_keys)

    async def ask(self, livekit_url: str, token: str, *, external: bool) -> bool:
        """Returns whether the following joins must use public addresses only.

        Raises Forbidden, LiveKitUnreachable, LiveKitTokenRejected.
        """
        public_only = external and await self._targets.public_only(livekit_url)
        await ask_livekit(livekit_url, token, ours=not external, public_only=public_only)
        return public_only

    async def _has_keys(self) -> bool:
        """Revoked keys count, as they do when callers are authorised."""
        return bool(await list_keys(self._database))
