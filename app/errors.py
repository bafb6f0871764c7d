"""Errors that reach a caller of the API, one code each (docs/api.md, "Every answer").

AppError
├── ValidationFailed 422   ├── RoomConflict 409          ├── LiveKitUnreachable 502
├── Unauthenticated 401    ├── LiveKitExternal 409       ├── LiveKitTokenRejected 422
├── Forbidden 403          ├── PayloadTooLarge 413       ├── StartTimeout 504
├── SessionNotFound 404    ├── CapacityExhausted 503     ├── Unhealthy 503
├── PersonaNotFound 404    │   ├── StorageUnavailable    ├── Draining 503
├── PersonaInvalid 422     │   └── ResourcesExhausted    ├── ClockSkew 503
├── SessionOver 409          ├── E2eeUnsupported 422      └── Internal 500
"""

from __future__ import annotations

from engine import StorageFault, shortage_of


class AppError(Exception):
    """Base class; `detail` is one clear sentence for the caller."""

    status = 500
    code = "internal"
    title = "Internal error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s


class ValidationFailed(AppError):
    status, code, title = 422, "validation_error", "The request is not valid"


class BadRequest(ValidationFailed):
    """A violation of HTTP itself, for which its RFCs require this status."""

    status = 400


class RequestTimeout(ValidationFailed):
    status, title = 408, "The request did not arrive in time"


class HeadTooLarge(ValidationFailed):
    status, title = 431, "The head of the request is too large"


class Unauthenticated(AppError):
    status, code, title = 401, "unauthenticated", "A valid API key is needed"


class Forbidden(AppError):
    status, code, title = 403, "forbidden", "Not allowed"


class SessionNotFound(AppError):
    status, code, title = 404, "session_not_found", "No such session"


class PersonaNotFound(AppError):
    status, code, title = 404, "persona_not_found", "No such persona"


class PersonaInvalid(AppError):
    status, code, title = 422, "persona_invalid", "The persona cannot be used"


class RoomConflict(AppError):
    status, code, title = 409, "room_conflict", "That identity is already live in the room"


class LiveKitExternal(AppError):
    status, code, title = 409, "livekit_external", "The session uses a foreign LiveKit token"


class SessionOver(AppError):
    status, code, title = 409, "session_ended", "The session is over"


class PayloadTooLarge(AppError):
    status, code, title = 413, "payload_too_large", "The request body is too large"


class CapacityExhausted(AppError):
    status, code, title = 503, "capacity_exhausted", "No slot is free"


class LiveKitUnreachable(AppError):
    status, code, title = 502, "livekit_unreachable", "LiveKit does not answer"


class LiveKitTokenRejected(AppError):
    status, code, title = 422, "livekit_token_rejected", "LiveKit refused the token"


class E2eeUnsupported(AppError):
    status, code, title = 422, "e2ee_unsupported", "The room is encrypted, and there is no key"


class StartTimeout(AppError):
    status, code, title = 504, "start_timeout", "The session was not ready in time"


class Unhealthy(AppError):
    status, code, title = 503, "unhealthy", "The service is not healthy"


class StorageUnavailable(Unhealthy):
    """The disk, or the database's disk, is full, read-only or failing."""

    code, title = "storage_unavailable", "Nothing can be stored"


class ResourcesExhausted(Unhealthy):
    """No file descriptor, memory, thread or connection is left."""

    code, title = "resources_exhausted", "The service is short of resources"


class ClockSkew(AppError):
    status, code, title = 503, "clock_skew", "The clock is wrong"


class Draining(AppError):
    status, code, title = 503, "draining", "The service is shutting down"


class Internal(AppError):
    """A bug in the service."""


def shortage_problem(error: BaseException) -> Unhealthy | None:
    """The problem for an error caused by a shortage such as a full disk; None for any other."""
    if (shortage := shortage_of(error)) is None:
        return None
    kind = StorageUnavailable if isinstance(shortage, StorageFault) else ResourcesExhausted
    return kind(str(shortage))
