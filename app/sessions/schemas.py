"""Bodies of the sessions API (docs/api.md, "Sessions"). Unknown fields are rejected."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    StrictBool,
    model_validator,
)

from app.outbound.addresses import canonical_url
from app.session_types import Limits, State

MAX_NAME_BYTES = 256
MAX_METADATA_BYTES = 4096
DAY_S = 86_400
_LIMITS = Limits()


def checked_name(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ValueError("must not contain a lone surrogate (half a character)") from error
    if not 1 <= size <= MAX_NAME_BYTES:
        raise ValueError(f"must be 1 to {MAX_NAME_BYTES} bytes of UTF-8")
    return value


def _whole_text(value: SecretStr) -> SecretStr:
    """LiveKit's library takes bytes, and half a character has none."""
    try:
        value.get_secret_value().encode()
    except UnicodeEncodeError as error:
        raise ValueError("must not contain half a character (a lone surrogate)") from error
    return value


def _small(value: JsonValue) -> JsonValue:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError) as error:  # NaN, a lone surrogate, endless nesting
        raise ValueError("must be plain JSON in UTF-8") from error
    if "\\u0000" in json.dumps(value):
        raise ValueError("must not contain a NUL character")
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"must be at most {MAX_METADATA_BYTES} bytes of JSON")
    return value


def _number(value: object) -> object:
    """Accepts only JSON numbers: pydantic alone takes `true` and `"1"` for 1."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def livekit_address(value: str) -> str:
    """Normalises scheme, host and path, because the URL is part of a session's key."""
    parts = urlsplit(value)  # raises ValueError for a malformed URL
    if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
        raise ValueError("must be a ws:// or wss:// URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must not carry credentials, a query or a fragment")
    if parts.port == 0:
        raise ValueError("must name a port from 1 to 65535")
    if not value.isprintable() or " " in value or "\\" in value or len(value) > 500:
        raise ValueError("must be at most 500 characters and have no spaces")
    return canonical_url(value)


Name = Annotated[
    str,
    Field(min_length=1, json_schema_extra={"description": f"1 to {MAX_NAME_BYTES} bytes"}),
    AfterValidator(checked_name),
]
LiveKitUrl = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^(ws|http)s?://.", "maxLength": 500}),
    AfterValidator(livekit_address),
]
Number = BeforeValidator(_number)
Even = Annotated[int, Number, Field(ge=64, le=1920, multiple_of=2)]
Seconds = Annotated[float, Number]
Empty = BeforeValidator(lambda value: None if value == "" else value)


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AudioBody(Body):
    source: Literal["auto", "track", "data_stream"] = "auto"
    participant: Name | None = Field(None, description="whose microphone to follow in `track`")
    agent: Name | None = Field(None, description="the agent's identity in `data_stream`")
    barge_in: StrictBool | None = Field(
        None,
        description="in `data_stream`: whether people interrupt the avatar when they start to "
        "speak (only `participant`, if given); by default as the service is configured",
    )


class LiveKitBody(Body):
    url: LiveKitUrl
    token: SecretStr = Field(min_length=1, max_length=16_384, description="never shown again")


class EncryptionBody(Body):
    key: Annotated[SecretStr, AfterValidator(_whole_text)] = Field(
        min_length=1, max_length=1024, description="the room's shared key; never stored or shown"
    )


class VideoBody(Body):
    """Both or neither; without them the persona's own size applies."""

    width: Even | None = None
    height: Even | None = None

    @model_validator(mode="after")
    def _both(self) -> VideoBody:
        if (self.width is None) != (self.height is None):
            raise ValueError("give both width and height, or neither")
        return self


class LimitsBody(Body):
    max_duration_s: Seconds | None = Field(None, gt=0, le=7 * DAY_S, allow_inf_nan=False)
    join_timeout_s: Seconds = Field(_LIMITS.join_timeout_s, gt=0, le=300, allow_inf_nan=False)
    participant_left_timeout_s: Seconds = Field(
        _LIMITS.participant_left_timeout_s, ge=0, le=DAY_S, allow_inf_nan=False
    )


class CreateSession(Body):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"room": "demo-room", "persona": "default"}]}
    )

    room: Name
    persona: Name
    identity: Name | None = Field(
        None, description="`avatar` by default, or the identity in `livekit.token`"
    )
    audio: AudioBody = AudioBody()
    livekit: LiveKitBody | None = Field(None, description="another LiveKit server")
    e2ee: EncryptionBody | None = Field(None, description="for an end-to-end encrypted room")
    video: VideoBody = VideoBody()
    limits: LimitsBody = LimitsBody()
    metadata: Annotated[dict[str, JsonValue] | str | None, AfterValidator(_small)] = Field(
        None, description=f"for your own use, at most {MAX_METADATA_BYTES} bytes of JSON"
    )


def _or_empty(schema: dict[str, Any]) -> None:
    """Documents that `?limit=` counts as not given."""
    plain = {name: schema.pop(name) for name in ("type", "minimum", "maximum") if name in schema}
    schema.setdefault("anyOf", [plain]).append({"type": "string", "maxLength": 0})


class Waiting(Body):
    """`?wait=ready&timeout=10`."""

    wait: Annotated[Literal["ready"] | None, Empty] = Field(None, json_schema_extra=_or_empty)
    timeout: float = Field(10.0, gt=0, le=60, allow_inf_nan=False, description="seconds")


class Listing(Body):
    """`?state=&limit=&cursor=`."""

    state: Annotated[State | None, Empty] = Field(None, json_schema_extra=_or_empty)
    limit: Annotated[int, BeforeValidator(lambda value: value or 50)] = Field(
        50, ge=1, le=200, json_schema_extra=_or_empty
    )
    cursor: Annotated[str | None, Empty] = Field(None, max_length=500)


# Views do not validate what is stored: a rule for requests must not make a session unreadable.


class AudioView(BaseModel):
    source: Literal["track", "data_stream"] = Field(description="`auto` is already resolved")
    participant: str | None = None
    agent: str | None = None
    barge_in: bool = Field(False, exclude_if=lambda value: not value)


class VideoView(BaseModel):
    width: int | None = None
    height: int | None = None


class LimitsView(BaseModel):
    max_duration_s: float | None = None
    join_timeout_s: float = _LIMITS.join_timeout_s
    participant_left_timeout_s: float = _LIMITS.participant_left_timeout_s


class ErrorView(BaseModel):
    code: str
    detail: str


class SessionView(BaseModel):
    """A session as callers see it, without any token."""

    id: str = Field(examples=["ses_1f0c6a5be23d4c7788aa0011"])
    state: State
    room: str
    persona: str
    identity: str
    livekit_url: str
    audio: AudioView
    video: VideoView
    limits: LimitsView
    metadata: Any
    created_at: AwareDatetime
    ready_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    error: ErrorView | None


class SessionPage(BaseModel):
    items: list[SessionView]
    next_cursor: str | None


class Quantiles(BaseModel):
    p50: float | None = None
    p95: float | None = None


class Lateness(Quantiles):
    p99: float | None = None


class Counted(Quantiles):
    count: int = 0


class Segments(BaseModel):
    started: int = 0
    finished: int = 0
    interrupted: int = 0


class SessionStats(BaseModel):
    """Values of the last 10 s; turns, interrupts and segments of the whole session."""

    fps: float | None = None
    lateness_ms: Lateness = Lateness()
    repeated_frames: int = 0
    dropped_frames: int = 0
    av_offset_ms: float | None = None
    time_to_first_frame_ms: float | None = None
    turn_start_ms: Counted = Counted()
    interrupt_ms: Counted = Counted()
    segments: Segments = Segments()


class ViewerTokenRequest(Body):
    identity: Name | None = Field(
        None, description="must be free in the room and not the agent's; generated by default"
    )
    name: Name | None = None
    can_publish: StrictBool = True
    can_publish_data: StrictBool = Field(
        False, description="for typed chat; it also lets the viewer control agents and avatars"
    )


class ViewerToken(BaseModel):
    token: str
    livekit_url: str
    room: str
    identity: str
    expires_at: AwareDatetime
