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
from torch import Tensor

from engine.audio.features import Features, Heard, Hearing
from engine.models import networks, whisper
from engine.models.configs import SMALL
from engine.models.decoder import KlDecoder
from engine.models.hearing import scaled
from engine.models.ops import best_ops
from engine.models.pipeline import Pipeline
from engine.models.unet import FastUNet
from engine.musetalk.positional import positional_table
from engine.musetalk.windows import STATES
from engine.parity.clips import blank_persona, clip_jobs
from engine.parity.sound_checks import marked
from engine.parity.vectors import Vectors
from engine.picture.encode_latents import encode_faces, prepare_latents


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
            sound = whisper.placed(
                torch.from_numpy(heard.reshape(batch, positions, STATES, width)),
                torch.ones(batch, positions),
                table,
            )
            place = torch.from_numpy(latents).to(memory_format=torch.channels_last)
            pipeline = Pipeline(None, table, self._unet, self._decoder)
            pictures = pipeline.paint(sound, place, bad)
            return self._unet(place, sound).numpy(), pictures.numpy()


def device_tokens(samples: int, states: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Tokens of a clip's pictures as the device gathers them, in one batch.

    Args:
        states: (positions, 5, width) what the encoder says of the clip; None: marks.
    """
    hearing = Hearing()
    jobs = list(clip_jobs(np.zeros(samples, np.int16), hearing))
    heard = Features(hearing).listen(jobs)
    places = np.array([hearing.start(job.frame) for job in jobs])[:, None]
    places = places + np.arange(hearing.positions)
    if states is None:
        said = np.array([marked(row) for row in places])
    else:
        padded = np.zeros((int(places.max()) + 1, *states.shape[1:]), np.float32)
        padded[: len(states)] = states[: len(padded)]
        said = padded[places]
    return _gathered(said, heard.index, heard.valid, np.zeros((1, said.shape[-1]), np.float32))


def device_places(tokens: NDArray[Any]) -> NDArray[Any]:
    """Tokens (batch, 50, 384) plus the table of places, in their own type."""
    batch, count, width = tokens.shape
    positions = count // STATES
    index = np.tile(np.arange(positions), (batch, 1))
    table = positional_table(count, width).astype(tokens.dtype)
    said = tokens.reshape(batch, positions, STATES, width)
    return _gathered(said, index, np.ones(index.shape, np.bool_), table)


def _gathered(
    states: NDArray[Any], index: NDArray[np.int64], valid: NDArray[np.bool_], table: NDArray[Any]
) -> NDArray[Any]:
    """Through the pipeline; in the place of its encoder is one that has said `states`."""

    def encoder(_log: Tensor, _floor: Tensor, index: Tensor) -> Tensor:
        return torch.from_numpy(states)[torch.arange(len(index))[:, None], index]

    pipeline: Any = Pipeline(encoder, torch.from_numpy(table), None, None)  # type: ignore[arg-type]
    nothing = torch.zeros(0)
    valid = valid.astype(np.bool_)
    tokens = pipeline.listen(nothing, nothing, torch.from_numpy(index), torch.from_numpy(valid))
    return np.asarray(tokens.numpy())


def device_mels(heard: Heard) -> NDArray[np.float32]:
    """(batch, 80, rows) what the encoder's convolutions take on the device."""
    log, floor = torch.from_numpy(heard.log), torch.from_numpy(heard.floor)
    return np.asarray(scaled(log, floor).numpy().transpose(0, 2, 1))


def device_faces(decoded: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Pictures of the decoder's output (n, 3, H, W) in its own type, as its last pass makes them.

    That pass begins with the decoder's last convolution, which here leaves the planes as they are.
    """
    planes = torch.from_numpy(decoded)
    same = torch.zeros(3, 3, 3, 3, dtype=planes.dtype)
    same[range(3), range(3), 1, 1] = 1
    bad = torch.zeros(len(decoded), dtype=torch.int32)
    bias = torch.zeros(3, dtype=planes.dtype)
    scale, shift = 0.5, 0.5
    faces = best_ops(planes.device).picture(planes, same, bias, scale, shift, bad)
    return np.asarray(faces.numpy(), np.uint8)


def unscaled(latents: NDArray[np.floating]) -> NDArray[np.floating]:
    """The KL decoder's first step on latents (n, 4, H, W), in their own type.

    That step includes a convolution, which here leaves the channels unchanged.
    """
    vae: Any = networks.build("kl", SMALL["kl"])
    conv = vae.post_quant_conv.to(torch.from_numpy(latents).dtype)
    with torch.inference_mode():
        conv.weight.copy_(torch.eye(4)[:, :, None, None])
        conv.bias.zero_()
        decoder = KlDecoder(best_ops(torch.device("cpu")), vae)
        return np.asarray(decoder.unscaled(torch.from_numpy(latents)).numpy())


def _reference_weights(module: Any) -> dict[str, torch.Tensor]:
    """Random values from a generator seeded with each name's checksum."""
    weights = {}
    for name, old in module.state_dict().items():
        seed = zlib.crc32(name.encode()) & 0x7FFFFFFF
        values = np.random.RandomState(seed).standard_normal(tuple(old.shape)) * 0.08
        if name.endswith("weight") and old.ndim == 1:
            values += 1
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights
