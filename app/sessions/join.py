"""Plans how a session joins its room: which LiveKit, which identity, which audio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from app.config import Settings
from app.errors import LiveKitTokenRejected, ValidationFailed
from app.rtc.sdk.names import PUBLISH_ON_BEHALF
from app.rtc.sdk.tokens import Claims, avatar_token, read_claims
from app.session_types import AudioSpec, Limits
from app.sessions.locks import Key
from app.sessions.schemas import AudioBody, CreateSession, checked_name, livekit_address

IDENTITY = "avatar"
NEEDED_SOURCES = frozenset({"camera", "microphone"})


@dataclass(frozen=True, slots=True)
class Joining:
    """`token()` returns a token for another attempt to join."""

    livekit_url: str
    room: str
    identity: str
    audio: AudioSpec
    external: bool
    token: Callable[[], str] = field(repr=False)
    e2ee_key: str | None = field(default=None, repr=False)

    @property
    def key(self) -> Key:
        return self.livekit_url, self.room, self.identity


def plan_joining(settings: Settings, session_id: str, wanted: CreateSession) -> Joining:
    """Reads the caller's token, or arranges to issue one.

    Raises LiveKitTokenRejected for a caller's token that is unfit, ValidationFailed for audio
    settings that contradict each other.
    """
    e2ee_key = wanted.e2ee.key.get_secret_value() if wanted.e2ee is not None else None
    if wanted.livekit is None:
        identity = wanted.identity or IDENTITY
        audio = resolve_audio(wanted.audio, identity, wanted.audio.agent, settings.barge_in)
        limits = Limits(**wanted.limits.model_dump())
        return Joining(
            livekit_url=livekit_address(settings.livekit_url),
            room=wanted.room,
            identity=identity,
            audio=audio,
            external=False,
            token=lambda: avatar_token(settings, session_id, wanted.room, identity, audio, limits),
            e2ee_key=e2ee_key,
        )
    secret = wanted.livekit.token
    claims = read_claims(secret.get_secret_value())
    _check_claims(claims, wanted)
    may_listen = settings.barge_in and claims.may_subscribe
    audio = resolve_audio(wanted.audio, claims.identity, claims.agent, may_listen)
    _check_audio(claims, audio)
    return Joining(
        livekit_url=wanted.livekit.url,
        room=wanted.room,
        identity=claims.identity,
        audio=audio,
        external=True,
        token=secret.get_secret_value,
        e2ee_key=e2ee_key,
    )


def resolve_audio(
    wanted: AudioBody, identity: str, agent: str | None, barge_in: bool = False
) -> AudioSpec:
    """Resolves `auto`: an agent's stream if an agent is known, otherwise a microphone.

    `barge_in` applies if the request does not set it.
    """
    if identity in (wanted.participant, agent):
        raise ValidationFailed("`audio` names the avatar itself as its source.")
    source = wanted.source
    if source == "auto":
        source = "track" if agent is None else "data_stream"
    if source == "track":
        if wanted.barge_in:
            raise ValidationFailed("`audio.barge_in` requires the source `data_stream`.")
        return AudioSpec(source, wanted.participant, None)
    if agent is None:
        raise ValidationFailed(
            "`audio.source` data_stream needs `audio.agent`, or a token with the attribute "
            f"{PUBLISH_ON_BEHALF}."
        )
    barge_in = barge_in if wanted.barge_in is None else wanted.barge_in
    return AudioSpec(source, wanted.participant if barge_in else None, agent, barge_in)


def _check_claims(claims: Claims, wanted: CreateSession) -> None:
    """Checks all but the token's times, which LiveKit judges: this clock may be wrong."""
    if claims.room != wanted.room:
        raise LiveKitTokenRejected("The token is not for the room that `room` names.")
    _check_name(claims.identity, "identity")
    if claims.agent is not None:
        _check_name(claims.agent, f"agent ({PUBLISH_ON_BEHALF})")
    if wanted.identity is not None and wanted.identity != claims.identity:
        raise LiveKitTokenRejected("The token is not for the identity that `identity` names.")
    if not claims.may_join:
        raise LiveKitTokenRejected("The token does not allow joining a room: set `roomJoin`.")
    if not claims.may_publish:
        raise LiveKitTokenRejected("The token does not allow publishing: set `canPublish`.")
    if claims.hidden:
        raise LiveKitTokenRejected("The token hides the avatar: leave out `hidden`.")
    if claims.recorder:
        raise LiveKitTokenRejected(
            "The token is a recorder's, which marks the room as recorded: leave out `recorder`."
        )
    if claims.sources and not NEEDED_SOURCES.issubset(claims.sources):
        raise LiveKitTokenRejected(
            "The token does not allow publishing video and audio: set `canPublishSources` to "
            "`camera` and `microphone`, in lower case, or leave it out."
        )


def _check_name(value: str, what: str) -> None:
    """Raises LiveKitTokenRejected for a name that a request could not contain either."""
    try:
        checked_name(value)
    except ValueError as error:
        raise LiveKitTokenRejected(f"The {what} that the token names {error}.") from error


def _check_audio(claims: Claims, audio: AudioSpec) -> None:
    if not claims.may_subscribe and (audio.source == "track" or audio.barge_in):
        raise LiveKitTokenRejected("The token does not allow subscribing: set `canSubscribe`.")
    if not claims.may_send_data and audio.source == "data_stream":
        raise LiveKitTokenRejected(
            "The token does not allow reporting playback to the agent: set `canPublishData`."
        )
