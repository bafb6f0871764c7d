"""Endpoints that the published `bey` plugin calls (livekit.md §1.7), on top of our sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeGuard

from fastapi import APIRouter, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr

from app import errors
from app.api.deps import Caller, RequestedAt, SessionsDep
from app.api.session_routes import view
from app.db.tables import SessionRow
from app.http.problems import describe
from app.rtc.sdk.names import PUBLISH_ON_BEHALF
from app.rtc.sdk.tokens import Claims, read_claims
from app.session_types import EndReason, State
from app.sessions.locks import Key
from app.sessions.schemas import (
    AudioBody,
    CreateSession,
    LiveKitBody,
    LiveKitUrl,
    Name,
    SessionView,
    checked_name,
)
from app.sessions.service import RETRY_AFTER_S, Sessions

router = APIRouter(prefix="/v1", tags=["compatible"])

TAKEOVER_S = 10.0  # for the old session to end; the plugins wait this long for an answer


Begin = Callable[[CreateSession], Awaitable[SessionRow]]


class Launch(BaseModel):
    """The request of `bey` 1.8.9; 1.7 named the last two fields `livekit_url` and `livekit_token`.

    Fields that other versions add are ignored.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    transport: Literal["livekit"] = "livekit"
    avatar_id: Name = Field(description="the persona")
    url: LiveKitUrl = Field(validation_alias=AliasChoices("url", "livekit_url"))
    token: SecretStr = Field(
        min_length=1, max_length=16_384, validation_alias=AliasChoices("token", "livekit_token")
    )


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": SessionView},
    **describe(
        errors.CapacityExhausted,
        errors.ClockSkew,
        errors.PersonaNotFound,
        errors.Forbidden,
        errors.LiveKitTokenRejected,
        errors.LiveKitUnreachable,
    ),
}


@router.post("/sessions", status_code=201, responses=_RESPONSES)
@router.post("/session", status_code=201, responses=_RESPONSES, deprecated=True)
async def launch(
    body: Launch,
    sessions: SessionsDep,
    requested_at: RequestedAt,
    caller: Caller,
    response: Response,
) -> SessionView:
    """Start an avatar that speaks for an agent, with a token that names both.

    A repeated request for the same agent returns 200 and the same session. A request for another
    agent replaces the avatar that is live under this identity.
    """
    begin = partial(sessions.create, requested_at=requested_at, caller=caller)
    row, created = await _start_or_find(sessions, body, begin)
    response.status_code = 201 if created else 200
    return view(row)


async def _start_or_find(sessions: Sessions, body: Launch, begin: Begin) -> tuple[SessionRow, bool]:
    token = body.token.get_secret_value()
    claims = read_claims(token)
    _check_agent(claims)
    wanted = CreateSession(
        room=_named(claims.room, "room"),
        persona=body.avatar_id,
        identity=_named(claims.identity, "identity"),
        audio=AudioBody(source="data_stream"),
        livekit=LiveKitBody(url=body.url, token=body.token),
    )
    with suppress(errors.RoomConflict):
        return await begin(wanted), True
    # A token that LiveKit would refuse must neither end nor reveal a session.
    await sessions.preflight.ask(body.url, token, external=True)
    key = body.url, claims.room, claims.identity
    held = await sessions.holder(key)
    if _speaks_for(held, claims.agent):
        return held, False
    return await _take_over(sessions, wanted, begin, key, claims.agent)


async def _take_over(
    sessions: Sessions, wanted: CreateSession, begin: Begin, key: Key, agent: str | None
) -> tuple[SessionRow, bool]:
    """End the session that holds the key, then start; concurrent requests take turns.

    Raises CapacityExhausted if the place is not free in time. Then no session was ended, or it is
    still ending.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + TAKEOVER_S
    while True:
        async with sessions.takeovers.of(key):
            held = await sessions.holder(key)
            if _speaks_for(held, agent):
                return held, False
            if (left := give_up - loop.time()) <= 0:
                raise _not_in_time(key)
            if held is not None:
                if held.state != State.ENDING:
                    await sessions.delete(held.id, EndReason.SUPERSEDED)
                await sessions.ended(held.id, left)
            # Try again if another request, which found the key free, was faster.
            with suppress(errors.RoomConflict):
                return await begin(wanted), True


def _speaks_for(held: SessionRow | None, agent: str | None) -> TypeGuard[SessionRow]:
    return held is not None and held.state != State.ENDING and held.audio["agent"] == agent


def _not_in_time(key: Key) -> errors.CapacityExhausted:
    _, room, identity = key
    return errors.CapacityExhausted(
        f"The avatar {identity!r} in room {room!r} did not make way in time; try again.",
        retry_after_s=RETRY_AFTER_S,
    )


def _check_agent(claims: Claims) -> None:
    """Checks the agent in this API's own terms: its callers know no `audio` or `livekit` field."""
    if claims.agent is None:
        raise errors.ValidationFailed(
            "The token does not name the agent that the avatar speaks for: give it the attribute "
            f"{PUBLISH_ON_BEHALF}."
        )
    if claims.agent == claims.identity:
        raise errors.ValidationFailed("The token names the avatar itself as its agent.")


def _named(value: str, what: str) -> str:
    try:
        return checked_name(value)
    except ValueError as error:
        raise errors.LiveKitTokenRejected(f"The {what} that the token names {error}.") from error
