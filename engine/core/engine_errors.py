"""The errors of the engine, as one tree.

EngineError
├── PersonaError          the video or its settings cannot become a persona
│   └── PersonaMissing        no persona of that name is configured
├── BackendUnavailable    a library, device or file is missing; the message says how to get it
├── PoolFull              the pool cannot take another stream and stay on time
├── StorageFault          the disk is full, read-only or failing; the persona is not at fault
├── ResourceShortage      no file descriptor, memory or thread is left
└── EngineFault           the backend failed while running; the pool tries a restart
    └── DeviceLost        only a new process can use the device again
"""

from __future__ import annotations


class EngineError(Exception):
    """Base class; the message is one clear sentence for the user."""


class PersonaError(EngineError):
    """A persona cannot be used or prepared."""


class PersonaMissing(PersonaError):
    """No persona of that name is configured."""


class BackendUnavailable(EngineError):
    """The backend cannot run here; `remedy` is the command that mends it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.remedy = remedy


class PoolFull(EngineError):
    """Every slot of the pool is taken."""


class StorageFault(EngineError):
    """Storage cannot be read or written at the moment, whichever file is concerned."""


class ResourceShortage(EngineError):
    """The process has no file descriptor, memory or thread left for the work."""


class EngineFault(EngineError):
    """The backend failed while running."""


class DeviceLost(EngineFault):
    """The process can never use the device again; restarting the backend does not help.

    After an illegal address or a failed assertion on an NVIDIA GPU, every further CUDA call of the
    process fails. Only a new process recovers.
    """


def reason_of(error: Exception) -> str:
    """The message of an EngineError, or the repr of any other error."""
    return str(error) if isinstance(error, EngineError) else repr(error)


def as_unavailable(error: Exception, backend: str) -> BackendUnavailable:
    """Turns any error of a backend's start into a BackendUnavailable."""
    if isinstance(error, BackendUnavailable):
        return error
    return BackendUnavailable(f"The {backend} engine does not run here: {reason_of(error)}")
