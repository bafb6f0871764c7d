"""`/sessions` (docs/api.md, "Sessions")."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from app import errors
from app.api.deps import Caller, RequestedAt, SessionsDep
from app.db.tables import SessionRow
from app.http.problems import describe
from app.session_types import FailureCode, State
from app.sessions.schemas import (
    AudioView,
    CreateSession,
    ErrorView,
    LimitsView,
    Listing,
    SessionPage,
    SessionStats,
    SessionView,
    VideoView,
    ViewerToken,
    ViewerTokenRequest,
    Waiting,
)
from app.sessions.service import RETRY_AFTER_S

router = APIRouter(prefix="/sessions", tags=["sessions"])

# The error for a waiting caller, by failure; any other failure is an internal error.
_FAILURES: dict[str, type[errors.AppError]] = {
    FailureCode.JOIN_TIMEOUT: errors.StartTimeout,
    FailureCode.LIVEKIT_LOST: errors.LiveKitUnreachable,
    FailureCode.LIVEKIT_UNREACHABLE: errors.LiveKitUnreachable,
    FailureCode.LIVEKIT_TOKEN_REJECTED: errors.LiveKitTokenRejected,
    FailureCode.E2EE_UNSUPPORTED: errors.E2eeUnsupported,
    FailureCode.PERSONA_INVALID: errors.PersonaInvalid,
    FailureCode.STORAGE_UNAVAILABLE: errors.StorageUnavailable,
    FailureCode.RESOURCES_EXHAUSTED: errors.ResourcesExhausted,
    FailureCode.CAPACITY_EXHAUSTED: errors.CapacityExhausted,
}
_WAITING = tuple(dict.fromkeys(_FAILURES.values()))

EXAMPLES: dict[str, Any] = {
    "simple": {
        "summary": "Follow whoever speaks in a room of this service's LiveKit",
        "value": {"room": "demo-room", "persona": "default"},
    },
    "limited": {
        "summary": "Follow one participant, for ten minutes at most",
        "value": {
            "room": "demo-room",
            "persona": "default",
            "identity": "avatar-2",
            "audio": {"source": "track", "participant": "speaker"},
            "limits": {"max_duration_s": 600},
            "metadata": {"ticket": "42"},
        },
    },
}


@router.post(
    "",
    status_code=201,
    responses=describe(
        errors.RoomConflict,
        errors.CapacityExhausted,
        errors.ClockSkew,
        errors.PersonaNotFound,
        *_WAITING,
    ),
)
async def create_session(
    body: Annotated[CreateSession, Body(openapi_examples=EXAMPLES)],
    waiting: Annotated[Waiting, Query()],
    sessions: SessionsDep,
    requested_at: RequestedAt,
    caller: Caller,
) -> SessionView:
    """Start an avatar in a room. `?wait=ready` answers once it is live, or with its failure."""
    row = await sessions.create(body, requested_at, caller)
    if waiting.wait:
        # The session is live and only this caller will know its id, so answer with the state
        # known so far.
        with suppress(errors.Unhealthy):
            row = await sessions.started(row.id, waiting.timeout)
        row = _or_problem(row)
    return view(row)


@router.get("", responses=describe())
async def list_sessions(listing: Annotated[Listing, Query()], sessions: SessionsDep) -> SessionPage:
    """Sessions, newest first; `next_cursor` continues the list."""
    rows, cursor = await sessions.page(listing)
    return SessionPage(items=[view(row) for row in rows], next_cursor=cursor)


@router.get("/{session_id}", responses=describe(errors.SessionNotFound, *_WAITING))
async def get_session(
    session_id: str, waiting: Annotated[Waiting, Query()], sessions: SessionsDep
) -> SessionView:
    """A session's state; with `?wait=ready`, as soon as it is no longer starting."""
    if waiting.wait:
        return view(_or_problem(await sessions.started(session_id, waiting.timeout)))
    return view(await sessions.get(session_id))


@router.delete(
    "/{session_id}",
    responses={202: {"model": SessionView}, **describe(errors.SessionNotFound)},
)
async def delete_session(session_id: str, sessions: SessionsDep, response: Response) -> SessionView:
    """End a session: 202 while it ends, then 200 with its final state."""
    row = await sessions.delete(session_id)
    response.status_code = 200 if State(row.state).terminal else 202
    return view(row)


@router.post("/{session_id}/interrupt", status_code=202, responses=describe(errors.SessionNotFound))
async def interrupt_session(session_id: str, sessions: SessionsDep) -> SessionView:
    """Stop the avatar's speech now and discard what it has received so far."""
    return view(await sessions.interrupt(session_id))


@router.get("/{session_id}/stats", responses=describe(errors.SessionNotFound))
async def get_stats(session_id: str, sessions: SessionsDep) -> SessionStats:
    """How well the session keeps time; its final values once it has ended."""
    return SessionStats.model_validate(await sessions.stats(session_id))


@router.post(
    "/{session_id}/viewer-token",
    responses=describe(
        errors.SessionNotFound,
        errors.LiveKitExternal,
        errors.LiveKitTokenRejected,
        errors.LiveKitUnreachable,
        errors.SessionOver,
    ),
)
async def create_viewer_token(
    session_id: str, sessions: SessionsDep, body: ViewerTokenRequest | None = None
) -> ViewerToken:
    """A token with which a person can join the session's room."""
    return await sessions.viewer_token(session_id, body or ViewerTokenRequest())


def view(row: SessionRow) -> SessionView:
    """A session's row as callers see it."""
    failed = row.error_code is not None
    return SessionView(
        id=row.id,
        state=State(row.state),
        room=row.room,
        persona=row.persona,
        identity=row.identity,
        livekit_url=row.livekit_url,
        audio=AudioView.model_validate(row.audio),
        video=VideoView.model_validate(row.video),
        limits=LimitsView.model_validate(row.limits),
        metadata=row.caller_metadata,
        created_at=row.created_at,
        ready_at=row.ready_at,
        ended_at=row.ended_at,
        end_reason=row.end_reason,
        error=ErrorView(code=row.error_code, detail=row.error_detail or "") if failed else None,
    )


def _or_problem(row: SessionRow) -> SessionRow:
    if row.state != State.FAILED:
        return row
    problem = _FAILURES.get(row.error_code or "", errors.Internal)
    later_s = RETRY_AFTER_S if problem is errors.CapacityExhausted else None
    raise problem(f"{row.error_detail} (session {row.id})", retry_after_s=later_s)
