"""What the published `bey` plugin calls: livekit.md §1.7. Our own sessions underneath."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr

from app import errors
from app.db.models import SessionRow
from app.deps import Calls, RequestedAt
from app.problems import describe
from app.rtc.tokens import read_claims
from app.rtc.validate import ask_livekit
from app.sessions.endpoints import view
from app.sessions.schemas import (
    AudioBody,
    CreateSession,
    LiveKitBody,
    LiveKitUrl,
    Name,
    SessionView,
    checked_name,
)
from app.sessions.service import Sessions
from app.sessions.spec import EndReason, State

router = APIRouter(prefix="/v1", tags=["compatible"])

END_S = 10.0  # by then a session that was told to end has left its room
ATTEMPTS = 3  # others may ask for the same avatar at the same time


class Launch(BaseModel):
    """As `bey` 1.8.9 sends it; 1.7 named the last two `livekit_url` and `livekit_token`.

    Fields that other versions add say nothing to us.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    transport: Literal["livekit"] = "livekit"
    avatar_id: Name = Field(description="the persona")
    url: LiveKitUrl = Field(validation_alias=AliasChoices("url", "livekit_url"))
    token: SecretStr = Field(
        min_length=1, max_length=16_384, validation_alias=AliasChoices("token", "livekit_token")
    )


@router.post(
    "/sessions",
    status_code=201,
    responses={
        200: {"model": SessionView},
        **describe(
            errors.RoomConflict,
            errors.CapacityExhausted,
            errors.PersonaNotFound,
            errors.LiveKitTokenRejected,
        ),
    },
)
@router.post("/session", status_code=201, deprecated=True)
async def launch(
    body: Launch, sessions: Calls, requested_at: RequestedAt, response: Response
) -> SessionView:
    """Start an avatar that speaks for an agent, with a token that names both.

    Asked again for the same agent, answers 200 with the same session. Asked for another agent,
    the avatar that is live there makes way.
    """
    row, created = await _start_or_find(sessions, body, requested_at)
    response.status_code = 201 if created else 200
    return view(row)


async def _start_or_find(
    sessions: Sessions, body: Launch, requested_at: float
) -> tuple[SessionRow, bool]:
    claims = read_claims(body.token.get_secret_value())
    wanted = CreateSession(
        room=_named(claims.room, "room"),
        persona=body.avatar_id,
        identity=_named(claims.identity, "identity"),
        audio=AudioBody(source="data_stream"),
        livekit=LiveKitBody(url=body.url, token=body.token),
    )
    for _ in range(ATTEMPTS):
        try:
            return await sessions.create(wanted, requested_at), True
        except errors.RoomConflict:
            held = await sessions.holder(body.url, claims.room, claims.identity)
        if held is None:
            continue
        if held.state != State.ENDING:
            # For a token that LiveKit would refuse nobody is sent away, nor shown.
            await ask_livekit(held.livekit_url, body.token.get_secret_value(), ours=False)
            if held.audio["agent"] == claims.agent:
                return held, False
            await sessions.delete(held.id, EndReason.SUPERSEDED)
        await sessions.ended(held.id, END_S)
    raise errors.RoomConflict(
        f"The avatar {claims.identity!r} in room {claims.room!r} did not make way in time."
    )


def _named(value: str, what: str) -> str:
    try:
        return checked_name(value)
    except ValueError as error:
        raise errors.LiveKitTokenRejected(f"The {what} that the token names {error}.") from error
