"""Latents of a persona's frames, which the UNet paints on (musetalk.md §1.3, §2).

They are the posterior's mode, as in training; one entry per frame, played back and forth by index.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from engine.core.engine_errors import PersonaError, StorageFault
from engine.core.persona import Persona
from engine.core.shortage import blame
from engine.core.types import Faces
from engine.models import networks
from engine.models.header import fingerprint
from engine.models.layout import missing
from engine.models.torch_device import choose_device, dtype_of
from engine.musetalk.image import SCALING_FACTOR, crop_face, vae_input
from engine.picture.latents import SHAPE, Latents, latents_name, stored_latents

log = logging.getLogger(__name__)

BATCH = 4
PIECE = 2048  # bytes; a file system block that was never written covers at least one
Progress = Callable[[int, int], None]  # frames done, frames in all


def encode_faces(vae: Any, faces: Faces) -> NDArray[np.float32]:
    """Latents (n, 8, 32, 32) of face crops: the masked face first, then the whole one.

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
    """The persona's latents, computed if missing; an interrupted run resumes where it stopped.

    A second process that needs the same waits for the first. Damaged latents are computed again.

    Args:
        encoder: fingerprint of the encoder's weights.
        load_vae: called if frames remain to be encoded.

    Raises:
        PersonaError: the latents cannot be written, or are not finite.
    """
    ready = _usable(persona, encoder)
    if ready is not None:
        return ready
    name = latents_name(encoder)
    try:
        with (persona.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ready = _usable(persona, encoder)
            if ready is not None:  # computed while this process waited
                return ready
            _make(persona, encoder, load_vae, progress)
    except OSError as error:
        unwritable = StorageFault(f"Latents of {persona.name} cannot be written: {error}")
        raise blame(error, unwritable) from error
    return np.asarray(persona.array(name))


def _usable(persona: Persona, encoder: str) -> Latents | None:
    try:
        return stored_latents(persona, encoder)
    except PersonaError as error:
        log.warning("%s Computing them again.", error)
        return None


def _make(persona: Persona, encoder: str, load_vae: Callable[[], Any], progress: Progress) -> None:
    """Writes the latents; the file gets its name once it is complete. Raises OSError."""
    name, count = latents_name(encoder), len(persona.frames)
    partial = persona.folder / f"{name}.partial"
    with partial.open("a+b") as file:
        done = _resume(file, count)
        vae = load_vae() if done < count else None
        for first in range(done, count, BATCH):
            last = min(first + BATCH, count)
            file.write(_encode_frames(vae, persona, range(first, last)).tobytes())
            file.flush()
            os.fsync(file.fileno())
            progress(last, count)
    manifest = {"encoder": encoder, "frames": count, "shape": SHAPE, "posterior": "mode"}
    (persona.folder / f"{name}.json").write_text(json.dumps(manifest, indent=1))
    partial.replace(persona.folder / f"{name}.npy")


def _resume(file: BinaryIO, count: int) -> int:
    """Number of valid rows in a file opened to append; truncates anything torn or unexpected.

    Only the file decides, so that nothing can disagree with it: a header, then complete rows.
    """
    kept = io.BytesIO()
    header = {"descr": "<f2", "fortran_order": False, "shape": (count, *SHAPE)}
    write_array_header_1_0(kept, header)
    head = kept.getvalue()
    file.seek(0)
    if file.read(len(head)) != head:
        file.truncate(0)
        file.write(head)
        return 0
    row = np.dtype("<f2").itemsize * math.prod(SHAPE)
    done = min(count, (file.seek(0, io.SEEK_END) - len(head)) // row)
    while done:
        file.seek(len(head) + (done - 1) * row)
        last = file.read(row)
        if all(any(last[at : at + PIECE]) for at in range(0, row, PIECE)):
            break
        done -= 1  # a power failure left a block of it empty
    file.truncate(len(head) + done * row)
    return done


def _encode_frames(vae: Any, persona: Persona, indices: range) -> Latents:
    faces = [crop_face(persona.frames[i], persona.boxes[i].tolist()) for i in indices]
    with np.errstate(over="ignore"):  # values beyond half precision are found below
        latents = encode_faces(vae, np.stack(faces)).astype(np.float16)
    if not np.isfinite(latents).all():
        raise PersonaError(
            f"The latents of frames {indices.start} to {indices.stop - 1} of {persona.name} are not"
            " finite: check the weights with `voipavatar models verify`."
        )
    return latents


def _unwatched(_done: int, _all: int) -> None:
    """Ignores the progress."""


def encode_persona(
    persona: Persona, models: Path, device: str, progress: Progress = _unwatched
) -> Latents:
    """A persona's latents for the weights in a models folder, computed if missing.

    Args:
        device: auto, cuda or cpu.

    Raises:
        BackendUnavailable: the weights or the device are missing.
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
