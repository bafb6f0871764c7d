"""Tokens with which people join a session's room without displacing another participant."""

from __future__ import annotations

import secrets

from app.config import Settings
from app.db.tables import SessionRow
from app.errors import LiveKitExternal, SessionOver, ValidationFailed
from app.rtc.sdk.presence import is_in_room
from app.rtc.sdk.tokens import viewer_token
from app.session_types import Limits, State
from app.sessions.schemas import ViewerToken, ViewerTokenRequest
from app.sessions.store import SessionStore


async def admit_viewer(
    settings: Settings, store: SessionStore, row: SessionRow, wanted: ViewerTokenRequest
) -> ViewerToken:
    """Raises LiveKitExternal, SessionOver, ValidationFailed, LiveKitUnreachable."""
    if row.external:
        raise LiveKitExternal(
            "The session uses a token for a foreign LiveKit; ask its operator for a viewer's token."
        )
    if row.state == State.ENDING or State(row.state).terminal:
        raise SessionOver("The session is over and its room is empty: start another.")
    identity = wanted.identity or f"viewer-{secrets.token_hex(4)}"
    if wanted.identity is not None:
        await _require_free(settings, store, row, wanted.identity)
    token, expires_at = viewer_token(
        settings,
        row.room,
        identity,
        wanted.name,
        can_publish=wanted.can_publish,
        can_publish_data=wanted.can_publish_data,
        limits=Limits(**row.limits),
    )
    return ViewerToken(
        token=token,
        livekit_url=row.livekit_url,
        room=row.room,
        identity=identity,
        expires_at=expires_at,
    )


async def _require_free(
    settings: Settings, store: SessionStore, row: SessionRow, identity: str
) -> None:
    """LiveKit disconnects an identity's earlier holder; agents and avatars go by identity."""
    live = await store.live_in(row.livekit_url, row.room)
    if any(identity == each.identity for each in [row, *live]):
        raise ValidationFailed("`identity` is the avatar's; joining would disconnect the avatar.")
    if any(identity == each.audio.get("agent") for each in [row, *live]):
        raise ValidationFailed("`identity` is the agent's; its holder speaks through the avatar.")
    if await is_in_room(settings, row.livekit_url, row.room, identity):
        raise ValidationFailed("`identity` is already in the room and would be disconnected.")
