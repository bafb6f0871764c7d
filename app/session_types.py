"""What a session is asked to do and how it ended; shared by rules, runner and room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from engine import (
    EngineError,
    PersonaError,
    PoolFull,
    ResourceShortage,
    StorageFault,
    shortage_of,
)

SERVICE_FAULT = "A fault in the service ended the session; its log says more."


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    ENDED = "ended"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        return self in (State.ENDED, State.FAILED)


class EndReason(StrEnum):
    """Why a session reached `ended`."""

    DELETED = "deleted"
    MAX_DURATION = "max_duration"
    PARTICIPANT_LEFT = "participant_left"
    REMOVED = "removed"
    ROOM_CLOSED = "room_closed"
    SUPERSEDED = "superseded"
    SHUTDOWN = "shutdown"


class FailureCode(StrEnum):
    """Why a session reached `failed`; also its `end_reason`."""

    JOIN_TIMEOUT = "join_timeout"
    LIVEKIT_LOST = "livekit_lost"
    LIVEKIT_UNREACHABLE = "livekit_unreachable"
    LIVEKIT_TOKEN_REJECTED = "livekit_token_rejected"
    E2EE_UNSUPPORTED = "e2ee_unsupported"
    PERSONA_INVALID = "persona_invalid"
    CAPACITY_EXHAUSTED = "capacity_exhausted"
    ENGINE_ERROR = "engine_error"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    RESOURCES_EXHAUSTED = "resources_exhausted"
    LOST = "lost"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class AudioSpec:
    source: Literal["track", "data_stream"] = "track"  # `auto` is resolved before
    participant: str | None = None  # `track`: whose microphone to follow
    agent: str | None = None  # `data_stream`: whose byte stream to play
    barge_in: bool = False  # `data_stream`: speech by `participant`, or by anybody, interrupts it


@dataclass(frozen=True, slots=True)
class VideoSpec:
    width: int | None = None  # None: the persona's own size
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    max_duration_s: float | None = None
    join_timeout_s: float = 15.0
    participant_left_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """Everything a runner needs. `token()` returns a LiveKit token for joining or rejoining."""

    id: str
    room: str
    persona: str
    identity: str
    livekit_url: str
    token: Callable[[], str] = field(repr=False)
    requested_at: float  # time.monotonic() when the request arrived
    e2ee_key: str | None = field(default=None, repr=False)  # the room's; stored nowhere else
    external: bool = False  # the token came with the request and cannot be renewed
    public_only: bool = False  # connect to public addresses only: app/outbound
    caller: str = field(default="", repr=False)  # shares persona preparation fairly by caller
    waited_s: float = 0.0  # of the join timeout, spent before the runner started
    audio: AudioSpec = AudioSpec()
    video: VideoSpec = VideoSpec()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session's task ended: a reason, or a failure code with a sentence of detail."""

    reason: EndReason | FailureCode
    detail: str = ""

    @classmethod
    def of(cls, error: EngineError) -> Outcome:
        """The outcome of a session that the engine or the persona refused."""
        if isinstance(error, StorageFault | ResourceShortage):
            return shortage_outcome(error) or cls(FailureCode.INTERNAL, str(error))
        code = FailureCode.ENGINE_ERROR
        if isinstance(error, PersonaError):
            code = FailureCode.PERSONA_INVALID
        if isinstance(error, PoolFull):
            code = FailureCode.CAPACITY_EXHAUSTED
        return cls(code, str(error))

    @classmethod
    def of_fault(cls, error: BaseException | None = None) -> Outcome:
        """How a session ends that the service itself broke, through `error` if it is known."""
        shortage = None if error is None else shortage_outcome(error)
        return shortage or cls(FailureCode.INTERNAL, SERVICE_FAULT)

    @property
    def state(self) -> State:
        return State.ENDED if isinstance(self.reason, EndReason) else State.FAILED


def shortage_outcome(error: BaseException) -> Outcome | None:
    """The outcome for a lack of disk, descriptors, memory or threads; None for other errors."""
    shortage = shortage_of(error)
    if shortage is None:
        return None
    storage = isinstance(shortage, StorageFault)
    code = FailureCode.STORAGE_UNAVAILABLE if storage else FailureCode.RESOURCES_EXHAUSTED
    return Outcome(code, str(shortage))
