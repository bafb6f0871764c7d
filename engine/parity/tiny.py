"""The vectors' tiny networks as they prepare and serve. Needs the networks' libraries."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.clips import blank_persona, clip_jobs
from engine.features import Features, Hearing
from engine.models import networks, whisper
from engine.models.decoder import KlDecoder
from engine.models.ops import best_ops
from engine.models.pipeline import Pipeline
from engine.models.unet import FastUNet
from engine.musetalk.positional import positional_table
from engine.musetalk.windows import STATES
from engine.parity.sound import marked
from engine.parity.vectors import Vectors
from engine.prepare.latents import encode_faces, prepare_latents


class TinyNetworks:
    """UNet and autoencoder of `c_tiny_end_to_end`, with the weights of the vectors' README."""

    def __init__(self, vectors: Vectors) -> None:
        self._vae = networks.build("kl", json.loads(str(vectors["vae_cfg"])))
        unet = networks.build("unet", json.loads(str(vectors["unet_cfg"])))
        for what, module in (("The tiny KL network", self._vae), ("The tiny UNet", unet)):
            networks.fill(module, _reference_weights(module), what)
        ops = best_ops(torch.device("cpu"))
        self._unet, self._decoder = FastUNet(ops, unet), KlDecoder(ops, self._vae)

    def latents(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        return encode_faces(self._vae, faces)

    def latents_of(self, boxes: NDArray[np.integer]) -> NDArray[np.float16]:
        """Latents of an avatar of one frame a box, as they come to lie on disk."""
        with TemporaryDirectory() as folder:
            persona = blank_persona(boxes.astype(np.int32), Path(folder))
            latents = prepare_latents(persona, "parity", lambda: self._vae, lambda _, __: None)
            return np.array(latents)

    def paint(
        self, latents: NDArray[np.float32], heard: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Latents (batch, 4, 32, 32) and pictures of tokens (batch, 50, 384) without positions."""
        batch, tokens, width = heard.shape
        positions = tokens // STATES
        table = torch.from_numpy(positional_table(tokens, width))
        bad = torch.zeros(batch, dtype=torch.int32)
        with torch.inference_mode():
            sound = whisper.tokens(
                torch.from_numpy(heard.reshape(batch, positions, STATES, width)),
                torch.arange(positions).expand(batch, -1),
                torch.ones(batch, positions),
                table,
            )
            place = torch.from_numpy(latents).to(memory_format=torch.channels_last)
            pipeline = Pipeline(None, table, self._unet, self._decoder)
            pictures = pipeline.paint(sound, place, bad)
            return self._unet(place, sound).numpy(), pictures.numpy()


def device_tokens(samples: int) -> NDArray[np.float32]:
    """Tokens of a clip's pictures as the device gathers them, in one batch; the encoder marks."""
    hearing = Hearing()
    jobs = list(clip_jobs(np.zeros(samples, np.int16), hearing))
    heard = Features(hearing).listen(jobs)
    places = np.arange(hearing.positions)
    states = np.array([marked(hearing.start(job.frame) + places) for job in jobs])
    tokens = whisper.tokens(
        torch.from_numpy(states),
        torch.from_numpy(heard.index),
        torch.from_numpy(heard.valid.astype(states.dtype)),
        torch.zeros(1, states.shape[-1]),  # the table has a check of its own
    )
    return np.asarray(tokens.numpy(), np.float32)


def device_faces(decoded: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pictures of the decoder's output (n, 3, H, W), as its last pass makes them.

    That pass begins with the decoder's last convolution, which here leaves the planes as they are.
    """
    same = torch.zeros(3, 3, 3, 3)
    same[range(3), range(3), 1, 1] = 1
    bad = torch.zeros(len(decoded), dtype=torch.int32)
    planes = torch.from_numpy(decoded)
    scale, shift = 0.5, 0.5
    faces = best_ops(planes.device).picture(planes, same, torch.zeros(3), scale, shift, bad)
    return np.asarray(faces.numpy(), np.uint8)


def _reference_weights(module: Any) -> dict[str, torch.Tensor]:
    """Of a generator seeded with each name's checksum."""
    weights = {}
    for name, old in module.state_dict().items():
        seed = zlib.crc32(name.encode()) & 0x7FFFFFFF
        values = np.random.RandomState(seed).standard_normal(tuple(old.shape)) * 0.08
        if name.endswith("weight") and old.ndim == 1:
            values += 1
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights
