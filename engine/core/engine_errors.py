"""What can go wrong in the engine, as one tree.

EngineError
├── PersonaError          the video or its settings cannot become a persona
│   └── PersonaNotFound
├── BackendUnavailable    a library, a device or a file is missing; says how to get it
├── CapacityExhausted     the pool cannot take another stream and stay on time
├── StorageFault          the disk is full, read-only or fails: nobody's persona is to blame
├── ResourceShortage      no descriptor, memory or thread is left
└── EngineFault           the backend failed while running; the pool tries a restart
    └── DeviceLost        only a new process can use the device again
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all; the message is one clear sentence for the user."""


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
    """Files cannot be written or read now, whoever's they are."""


class ResourceShortage(EngineError):
    """The process has no file descriptor, memory or thread left for the work."""


class EngineFault(EngineError):
    """The backend failed in the middle of its work."""


class DeviceLost(EngineFault):
    """The process's hold on the device is broken for good; a restart of the backend cures nothing.

    After an illegal address or a failed assertion on an NVIDIA GPU every further call of the
    process fails, whatever it is for. Only a new process starts afresh.
    """


def reason_of(error: Exception) -> str:
    """Why something failed: the sentence of an error of ours, or all that is known of another."""
    return str(error) if isinstance(error, EngineError) else repr(error)


def as_unavailable(error: Exception, backend: str) -> BackendUnavailable:
    """What a backend's start failed with, in a sentence."""
    if isinstance(error, BackendUnavailable):
        return error
    return BackendUnavailable(f"The {backend} engine does not run here: {reason_of(error)}")
