"""A persona's stored latents: one entry per frame, one file per set of weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.core.engine_errors import PersonaError
from engine.core.persona import Persona
from engine.core.shortage import blame

SHAPE = (8, 32, 32)
"""Per frame: four channels of the masked face, then four of the whole; scaled by 0.18215."""

Latents = NDArray[np.float16]  # (frames, 8, 32, 32)


def latents_name(fingerprint: str) -> str:
    """Name of a persona's array of latents."""
    return f"latents-{fingerprint}"


def stored_latents(persona: Persona, fingerprint: str) -> Latents | None:
    """The persona's latents, memory-mapped; None if they have not been computed yet.

    Raises PersonaError if they are damaged, or belong to other frames.
    """
    try:
        stored = persona.array(latents_name(fingerprint))
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError) as error:
        raise blame(error, _damaged(persona, str(error))) from error
    wanted = (len(persona.frames), *SHAPE)
    if stored.shape != wanted or stored.dtype != np.float16:
        raise _damaged(persona, f"{stored.dtype} of shape {stored.shape}, not {wanted}")
    return np.asarray(stored)


def _damaged(persona: Persona, reason: str) -> PersonaError:
    return PersonaError(
        f"The stored latents of {persona.name} are damaged ({reason}). "
        f"Run `voipavatar models latents {persona.name}`."
    )
