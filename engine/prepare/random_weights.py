"""Random weights of the true shapes: they test function and speed, not appearance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.models import networks
from engine.models.configs import SIZES
from engine.models.layout import NETWORKS, Network
from engine.musetalk.image import SCALING_FACTOR
from engine.prepare.weights import write_ready

JITTER = 0.1  # of the norms' gains and biases, which would otherwise be exactly 1 and 0
CALIBRATION = 8  # side of the latents by which the outputs are scaled; any shows the spread


def init_random(
    models: Path, size: str, seed: int, names: Iterable[str] = tuple(NETWORKS)
) -> Iterator[Path]:
    """Writes networks with random weights, ready for serving.

    The last layers are scaled so that latents have a standard deviation of 1 and planes of 0.5,
    about as real ones do; otherwise pictures would be all black or all white.

    Args:
        size: `full` or `tiny`, see `engine.models.configs`.
    """
    for network in (NETWORKS[name] for name in names):
        torch.manual_seed(seed)
        module: Any = networks.build(network.kind, SIZES[size][network.kind])
        _jitter(module)
        with torch.inference_mode():
            _calibrate(network, module)
        config = SIZES[size][network.kind]
        yield write_ready(
            models, network, config, dict(module.state_dict()), f"random, seed {seed}"
        )


def _jitter(module: Any) -> None:
    for layer in module.modules():
        if isinstance(layer, torch.nn.GroupNorm | torch.nn.LayerNorm):
            layer.weight.add_(torch.randn_like(layer.weight) * JITTER)
            layer.bias.add_(torch.randn_like(layer.bias) * JITTER)


def _calibrate(network: Network, module: Any) -> None:
    if network.kind == "unet":
        _scale(module.conv_out, 1.0, _unet_output(module))
    elif network.kind == "kl":
        latents = torch.randn(1, 4, CALIBRATION, CALIBRATION) / SCALING_FACTOR
        _scale(module.decoder.conv_out, 0.5, module.decode(latents).sample)
        faces = torch.rand(1, 3, 8 * CALIBRATION, 8 * CALIBRATION) * 2 - 1
        mean = module.encode(faces).latent_dist.mode()
        _scale(module.quant_conv, 1 / SCALING_FACTOR, mean)
    elif network.kind == "tiny":
        last = module.decoder.layers[-1]
        planes = module.decode(torch.randn(1, 4, CALIBRATION, CALIBRATION)).sample
        _scale(last, 0.5, planes)
        last.bias.fill_(0.5)  # its planes run from 0 to 1


def _unet_output(module: Any) -> Tensor:
    latents = torch.randn(1, 8, CALIBRATION, CALIBRATION)
    sound = torch.randn(1, 50, 384)
    out: Tensor = module(latents, torch.tensor([0]), encoder_hidden_states=sound).sample
    return out


def _scale(layer: Any, spread: float, output: Tensor) -> None:
    """Make the output's standard deviation `spread`, about a mean of 0."""
    factor = spread / output.std()
    layer.weight.mul_(factor)
    layer.bias.sub_(output.mean()).mul_(factor)
