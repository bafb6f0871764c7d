"""LiveKit tokens: issues the service's own, and reads the claims of callers' tokens."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from livekit import api

from app.config import Settings
from app.errors import LiveKitTokenRejected
from app.rtc.sdk.names import PUBLISH_ON_BEHALF, SESSION_ATTRIBUTE
from app.session_types import AudioSpec, Limits

AVATAR_TTL = timedelta(minutes=10)  # only needed to join; each attempt gets a new token
VIEWER_TTL = timedelta(hours=6)
ROOM_MARGIN_S = 30  # so that the session ends before its room
LIVEKIT_EMPTY_S, LIVEKIT_DEPARTURE_S = 300, 20  # LiveKit's defaults, the minimum for our rooms
USUAL_LIMITS = Limits()
LEEWAY_S = 60  # the clock skew that LiveKit tolerates


@dataclass(frozen=True, slots=True)
class Claims:
    """A token's claims; only LiveKit can verify them."""

    room: str
    identity: str
    attributes: dict[str, str] = field(default_factory=dict)
    expires: float | None = None  # seconds since 1970
    begins: float | None = None  # not valid before, likewise
    may_join: bool = False  # LiveKit's own default
    may_publish: bool = True  # likewise
    may_subscribe: bool = True
    may_send_data: bool = True
    sources: tuple[str, ...] = ()  # what it may publish, such as `camera`; empty: everything
    hidden: bool = False  # LiveKit hides its holder from other participants
    recorder: bool = False  # marks the room as recorded

    @property
    def agent(self) -> str | None:
        """The agent that its holder speaks for (livekit.md §1.2)."""
        return self.attributes.get(PUBLISH_ON_BEHALF)


def avatar_token(
    settings: Settings,
    session_id: str,
    room: str,
    identity: str,
    audio: AudioSpec,
    limits: Limits = USUAL_LIMITS,
) -> str:
    """A token of kind agent, for one room, with the least grants (livekit.md §3).

    Raises LiveKitTokenRejected if there is no key to sign it with.

    Data is granted only for an agent's RPC calls; following a microphone needs none.
    """
    attributes = {SESSION_ATTRIBUTE: session_id}
    if audio.agent is not None:
        attributes[PUBLISH_ON_BEHALF] = audio.agent
    grants = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=True,
        can_publish_sources=["camera", "microphone"],
        can_subscribe=True,
        can_publish_data=audio.source == "data_stream",
    )
    return (
        token_maker(settings)
        .with_kind("agent")
        .with_identity(identity)
        .with_name(identity)
        .with_ttl(AVATAR_TTL)
        .with_attributes(attributes)
        .with_grants(grants)
        .with_room_config(room_config(limits))
        .to_jwt()
    )


def viewer_token(
    settings: Settings,
    room: str,
    identity: str,
    name: str | None,
    *,
    can_publish: bool,
    can_publish_data: bool = False,
    limits: Limits = USUAL_LIMITS,
) -> tuple[str, datetime]:
    """A token for a person, and its expiry. Data packets can control agents and avatars, so they
    are granted on request only."""
    grants = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=can_publish,
        can_subscribe=True,
        can_publish_data=can_publish_data,
    )
    expires = datetime.now(UTC).replace(microsecond=0) + VIEWER_TTL
    maker = token_maker(settings).with_identity(identity).with_name(name or identity)
    maker = maker.with_ttl(VIEWER_TTL).with_grants(grants).with_room_config(room_config(limits))
    return maker.to_jwt(), expires


def room_config(limits: Limits) -> api.RoomConfiguration:
    """Settings for a room that is created by joining with the token.

    LiveKit does not count avatars, so with default timeouts it would close a room while a session
    still waits. A token claim is better than a call to CreateRoom: it cannot fail, applies at
    each rejoin, leaves existing rooms as they are, and creates none where LiveKit reserves that.
    """
    seconds = math.ceil(limits.participant_left_timeout_s) + ROOM_MARGIN_S
    return api.RoomConfiguration(
        empty_timeout=max(LIVEKIT_EMPTY_S, seconds),
        departure_timeout=max(LIVEKIT_DEPARTURE_S, seconds),
    )


# LiveKit's library accepts no other characters, but would report it only at the join.
_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_SPOILT = (
    *(IndexError, ValueError, TypeError, AttributeError, binascii.Error),
    *(OverflowError, RecursionError),  # endless numbers, endlessly nested lists
)


def read_claims(token: str) -> Claims:
    """The claims of a caller's token. Raises LiveKitTokenRejected if it is not a token."""
    try:
        if not _FORM.fullmatch(token):
            raise ValueError("not three parts of base64url")
        payload = token.split(".")[1]
        body = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return _claims(body)
    except _SPOILT as error:
        raise LiveKitTokenRejected("The token is not a LiveKit access token.") from error


def _claims(body: dict[str, Any]) -> Claims:
    expires, begins = body.get("exp"), body.get("nbf")
    grants = body.get("video", {})
    attributes = body.get("attributes")
    return Claims(
        room=_text(grants.get("room")),
        identity=_text(body.get("sub")),
        attributes={} if attributes is None else {k: _text(v) for k, v in attributes.items()},
        expires=None if expires is None else float(expires),
        begins=None if begins is None else float(begins),
        may_join=grants.get("roomJoin") is True,
        may_publish=grants.get("canPublish") is not False,
        may_subscribe=grants.get("canSubscribe") is not False,
        may_send_data=grants.get("canPublishData") is not False,
        sources=tuple(str(name) for name in grants.get("canPublishSources") or ()),
        hidden=grants.get("hidden") is True,
        recorder=grants.get("recorder") is True,
    )


def _text(value: object) -> str:
    """As LiveKit reads it: null is empty text, any other type is invalid. Raises TypeError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def token_maker(settings: Settings) -> api.AccessToken:
    """Signs with the service's key. Raises LiveKitTokenRejected if there is none."""
    secret = settings.livekit_api_secret.get_secret_value()
    if not (settings.livekit_api_key and secret):
        raise LiveKitTokenRejected(
            "The service has no LiveKit key to issue a token with: set LIVEKIT_API_KEY and "
            "LIVEKIT_API_SECRET, or pass a token in `livekit`."
        )
    return api.AccessToken(settings.livekit_api_key, secret)
