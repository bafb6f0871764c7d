"""LiveKit tokens: the ones we make, and what a foreign one says of itself."""

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

AVATAR_TTL = timedelta(minutes=10)  # needed to join only; each attempt to join gets a new one
VIEWER_TTL = timedelta(hours=6)
ROOM_MARGIN_S = 30  # the session ends first
LIVEKIT_EMPTY_S, LIVEKIT_DEPARTURE_S = 300, 20  # its own defaults; a room never lives shorter
USUAL_LIMITS = Limits()
LEEWAY_S = 60  # what LiveKit itself allows clocks to differ


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says; only LiveKit can tell whether it is true."""

    room: str
    identity: str
    attributes: dict[str, str] = field(default_factory=dict)
    expires: float | None = None  # seconds since 1970
    begins: float | None = None  # not to be used before, likewise
    may_join: bool = False  # LiveKit's own default
    may_publish: bool = True  # so is this
    may_subscribe: bool = True
    may_send_data: bool = True
    sources: tuple[str, ...] = ()  # that it may publish, `camera` and so on; none: all
    hidden: bool = False  # LiveKit tells nobody of its holder
    recorder: bool = False  # it tells everybody that the room is recorded

    @property
    def agent(self) -> str | None:
        """On whose behalf its holder speaks (livekit.md §1.2)."""
        return self.attributes.get(PUBLISH_ON_BEHALF)


def avatar_token(
    settings: Settings,
    session_id: str,
    room: str,
    identity: str,
    audio: AudioSpec,
    limits: Limits = USUAL_LIMITS,
) -> str:
    """Of kind agent, for one room, with the least grants (livekit.md §3).

    Raises LiveKitTokenRejected where there is no key to sign it with.

    Data is what an agent's RPC calls need; who follows a microphone sends none.
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
    """A person's way into the room, and when it ends. Data is what packets that steer agents and
    avatars are made of, so it is for those who ask."""
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
    """How a room is to be that a join with the token makes.

    LiveKit does not count avatars: it would close a room of its usual timeouts under a session
    that may wait longer. A claim of the token and not a call of CreateRoom, because it can't fail,
    holds at each rejoin, leaves rooms that exist as they are, and makes none where LiveKit lets
    only its owner make rooms.
    """
    seconds = math.ceil(limits.participant_left_timeout_s) + ROOM_MARGIN_S
    return api.RoomConfiguration(
        empty_timeout=max(LIVEKIT_EMPTY_S, seconds),
        departure_timeout=max(LIVEKIT_DEPARTURE_S, seconds),
    )


# LiveKit's library takes no other character, but would say so only at the join.
_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_SPOILT = (
    *(IndexError, ValueError, TypeError, AttributeError, binascii.Error),
    *(OverflowError, RecursionError),  # numbers without end, lists in lists without end
)


def read_claims(token: str) -> Claims:
    """What a foreign token says. Raises LiveKitTokenRejected when it is no token at all."""
    try:
        if not _FORM.fullmatch(token):
            raise ValueError("not three words of base64url")
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
    """As LiveKit reads it: null is no text, and anything else is no token. Raises TypeError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def token_maker(settings: Settings) -> api.AccessToken:
    """Signs with our key. Raises LiveKitTokenRejected where there is none."""
    secret = settings.livekit_api_secret.get_secret_value()
    if not (settings.livekit_api_key and secret):
        raise LiveKitTokenRejected(
            "The service has no LiveKit key to make a token with: set LIVEKIT_API_KEY and "
            "LIVEKIT_API_SECRET, or bring a token as `livekit`."
        )
    return api.AccessToken(settings.livekit_api_key, secret)
