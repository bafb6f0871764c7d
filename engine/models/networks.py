"""The published modules, built from their JSON and filled strictly from their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from engine.core.engine_errors import BackendUnavailable
from engine.models.configs import Config
from engine.models.header import RECONVERT, read_header
from engine.models.layout import NETWORKS, Kind


def build(kind: Kind, config: Config) -> nn.Module:
    """The module of a published JSON, with the random weights of its own initialisation.

    Raises:
        ValueError: the configuration does not describe such a network.
    """
    try:
        return cast(nn.Module, _build(kind, config)).eval().requires_grad_(False)
    except Exception as error:  # diffusers and transformers raise whatever their modules do
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"the configuration is not that of a {kind} network ({_short(reason)})"
        ) from error


def _build(kind: Kind, config: Config) -> Any:
    if kind == "whisper":
        return WhisperEncoder(WhisperConfig(**config))
    family = {"unet": UNet2DConditionModel, "kl": AutoencoderKL, "tiny": AutoencoderTiny}[kind]
    return family.from_config(config)


def fill(module: nn.Module, weights: dict[str, Tensor], what: str) -> None:
    """Put weights in place, strictly: every name and shape must match.

    Raises:
        ValueError: naming the first thing that does not match.
    """
    expected = module.state_dict()
    lacks = [name for name in expected if name not in weights]
    foreign = [name for name in weights if name not in expected]
    other = [
        name for name in expected if name in weights and weights[name].shape != expected[name].shape
    ]
    faults = []
    if lacks:
        faults.append(f"{len(lacks)} of {len(expected)} tensors are missing, as {lacks[0]}")
    if foreign:
        faults.append(f"{len(foreign)} are not of this network, as {foreign[0]}")
    if other:
        ours, theirs = (list(each[other[0]].shape) for each in (expected, weights))
        faults.append(f"{len(other)} are of another shape, as {other[0]}: {theirs}, not {ours}")
    if faults:
        raise ValueError(f"{what} does not fit its configuration: {'; '.join(faults)}.")
    module.load_state_dict(weights, strict=True, assign=True)


def _short(text: str, most: int = 200) -> str:
    """A text's beginning, cut between words."""
    return text if len(text) <= most else text[: text.rindex(" ", 0, most)] + " …"


def load(models: Path, name: str, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A converted network, in its published form.

    Raises:
        BackendUnavailable: missing, damaged, or not what its configuration says.
    """
    network = NETWORKS[name]
    path = network.ready_path(models)
    config = json.loads(read_header(path)["config"])
    try:
        with torch.device("meta"):
            module = build(network.kind, config)
        with safe_open(path, framework="pt", device=str(device)) as file:
            weights = {key: file.get_tensor(key).to(dtype) for key in file.keys()}  # noqa: SIM118
        fill(module, weights, str(path))
    except (ValueError, SafetensorError) as error:
        said = str(error).rstrip(".")
        sentence = said if said.startswith(str(path)) else f"{path} cannot be used: {said}"
        raise BackendUnavailable(f"{sentence}.", RECONVERT) from error
    return module
