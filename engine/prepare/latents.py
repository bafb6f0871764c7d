"""The latents of a persona's frames: what the UNet paints on (musetalk.md §1.3, §2).

Of the posterior's mode, as the training had it; one entry a frame, mirrored by index when played.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import PersonaError
from engine.latents import SHAPE, Latents, latents_name, stored_latents
from engine.models import networks
from engine.models.device import choose_device, dtype_of
from engine.models.header import fingerprint
from engine.models.layout import missing
from engine.musetalk.image import SCALING_FACTOR, crop_face, vae_input
from engine.persona import Persona
from engine.types import Faces

BATCH = 4
Progress = Callable[[int, int], None]  # frames done, frames in all


def encode_faces(vae: Any, faces: Faces) -> NDArray[np.float32]:
    """Latents (n, 8, 32, 32) of face crops: the masked face's first, then the whole one's.

    Args:
        vae: diffusers' AutoencoderKL.
        faces: (n, 256, 256, 3) BGR.
    """
    weight = vae.quant_conv.weight
    halves = []
    with torch.inference_mode():
        for masked in (True, False):
            planes = torch.from_numpy(vae_input(faces, masked=masked))
            planes = planes.to(weight.device, weight.dtype)
            mode = vae.encode(planes).latent_dist.mode() * SCALING_FACTOR
            halves.append(mode.float().cpu().numpy())
    return np.concatenate(halves, axis=1)


def prepare_latents(
    persona: Persona, encoder: str, load_vae: Callable[[], Any], progress: Progress
) -> Latents:
    """The persona's latents, made unless they are there; a broken-off run goes on where it was.

    Args:
        encoder: fingerprint of its weights.
        load_vae: called when frames remain to be encoded.

    Raises:
        PersonaError: the latents cannot be written, or are not finite.
    """
    ready = stored_latents(persona, encoder)
    if ready is not None:
        return ready
    name = latents_name(encoder)
    count = len(persona.frames)
    partial = persona.folder / f"{name}.partial.npy"
    journal = persona.folder / f"{name}.partial.json"
    try:
        rows, done = _open_partial(partial, journal, count)
        vae = load_vae() if done < count else None
        for first in range(done, count, BATCH):
            last = min(first + BATCH, count)
            rows[first:last] = _encode_frames(vae, persona, range(first, last))
            rows.flush()
            journal.write_text(json.dumps({"done": last}))
            progress(last, count)
        manifest = {"encoder": encoder, "frames": count, "shape": SHAPE, "posterior": "mode"}
        (persona.folder / f"{name}.json").write_text(json.dumps(manifest, indent=1))
        partial.replace(persona.folder / f"{name}.npy")
        journal.unlink(missing_ok=True)
    except OSError as error:
        raise PersonaError(f"Latents of {persona.name} cannot be written: {error}") from error
    return np.asarray(persona.array(name))


def _open_partial(partial: Path, journal: Path, count: int) -> tuple[Any, int]:
    """The array to fill, and how many of its rows are made already."""
    if partial.is_file() and journal.is_file():
        rows = np.lib.format.open_memmap(partial, mode="r+")
        if rows.shape == (count, *SHAPE):
            return rows, int(json.loads(journal.read_text())["done"])
    rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(count, *SHAPE))
    return rows, 0


def _encode_frames(vae: Any, persona: Persona, indices: range) -> NDArray[np.float32]:
    faces = [crop_face(persona.frames[i], persona.boxes[i].tolist()) for i in indices]
    latents = encode_faces(vae, np.stack(faces))
    if not np.isfinite(latents).all():
        raise PersonaError(
            f"The latents of frames {indices.start} to {indices.stop - 1} of {persona.name} are not"
            " finite: check the weights with `voipavatar models verify`."
        )
    return latents


def _unwatched(_done: int, _all: int) -> None:
    """Nobody watches the progress."""


def encode_persona(
    persona: Persona, models: Path, device: str, progress: Progress = _unwatched
) -> Latents:
    """The latents of a persona by the weights of a models folder, made unless they are there.

    Args:
        device: auto, cuda or cpu.

    Raises:
        BackendUnavailable: weights or the device are missing.
        PersonaError: see `prepare_latents`.
    """
    place = choose_device(device)
    missing(models, ("kl",))
    return prepare_latents(
        persona,
        fingerprint(models, ("kl",)),
        lambda: networks.load(models, "kl", dtype_of(place), place),
        progress,
    )
