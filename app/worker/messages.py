"""Session specs, outcomes and loop lag as JSON between the service and its workers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.config import Settings
from app.rtc.sdk.tokens import avatar_token
from app.session_types import (
    AudioSpec,
    EndReason,
    FailureCode,
    Limits,
    Outcome,
    SessionSpec,
    VideoSpec,
)

_PLAIN = (
    *("id", "room", "persona", "identity", "livekit_url"),
    *("requested_at", "external", "waited_s", "public_only", "e2ee_key"),
)


def spec_body(spec: SessionSpec) -> dict[str, Any]:
    """Includes the token only if it is the caller's; workers issue the service's own."""
    body: dict[str, Any] = {name: getattr(spec, name) for name in _PLAIN}
    for name in ("audio", "video", "limits"):
        body[name] = asdict(getattr(spec, name))
    return body | {"token": spec.token() if spec.external else None}


def spec_of(body: dict[str, Any], settings: Settings) -> SessionSpec:
    fields = {name: body[name] for name in _PLAIN}
    audio, limits, token = AudioSpec(**body["audio"]), Limits(**body["limits"]), body["token"]

    def own_token() -> str:
        names = body["id"], body["room"], body["identity"]
        return avatar_token(settings, *names, audio, limits)

    return SessionSpec(
        **fields,
        token=own_token if token is None else lambda: str(token),
        audio=audio,
        video=VideoSpec(**body["video"]),
        limits=limits,
    )


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    return {"reason": outcome.reason.value, "detail": outcome.detail}


def outcome_of(body: dict[str, Any]) -> Outcome:
    reason = body["reason"]
    ended = reason in set(EndReason)
    return Outcome(EndReason(reason) if ended else FailureCode(reason), body["detail"])
