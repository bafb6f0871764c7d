"""Published weights to what serving loads: one half-precision safetensors file a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.core.engine_errors import EngineError
from engine.models import networks
from engine.models.configs import Config
from engine.models.header import FORMAT, read_header
from engine.models.layout import NETWORKS, Network

HALF = torch.float16
AGAIN = "Delete it and run `voipavatar models download` again."

_WHISPER_PREFIX = "model.encoder."
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class BrokenWeights(EngineError):
    """A file of weights is missing, damaged, or not of its configuration."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of `verify` for a converted network."""

    name: str
    origin: str
    mib: float
    fault: str  # empty when all is well


def digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names and values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].contiguous().view(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def write_ready(
    models: Path, network: Network, config: Config, weights: dict[str, Tensor], origin: str
) -> Path:
    """Write a converted network; whole or not at all.

    Raises:
        BrokenWeights: a value is not finite, or too large for half precision.
    """
    half = {name: weights[name].to(HALF).contiguous().cpu() for name in weights}
    for name, values in half.items():
        if not values.isfinite().all():
            raise BrokenWeights(_not_half(network, name, weights[name]))
    path = network.ready_path(models)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {
        "format": FORMAT,
        "config": json.dumps(config),
        "origin": origin,
        "digest": digest(half),
    }
    partial = path.with_suffix(".partial")
    save_file(half, partial, header)
    partial.replace(path)
    return path


def _not_half(network: Network, name: str, values: Tensor) -> str:
    tensor = f"The tensor {name} of {network.folder}/{network.weights}"
    if not values.isfinite().all():
        return f"{tensor} holds values that are not finite. {AGAIN}"
    largest = float(values.abs().max())
    return f"{tensor} does not fit half precision: it holds {largest:g}. {AGAIN}"


def convert(models: Path, network: Network) -> Path:
    """Read a network's published files, check that they fit, and write them for serving.

    Raises:
        BrokenWeights: with what is wrong and where.
    """
    described = network.config_path(models)
    config = _read_config(described)
    source = network.weights_path(models)
    weights = _renamed(network, _read_weights(source))
    try:
        with torch.device("meta"):
            module = networks.build(network.kind, config)
    except ValueError as error:
        raise BrokenWeights(f"{described}: {error}. {AGAIN}") from error
    try:
        networks.fill(module, weights, str(source))
    except ValueError as error:
        raise BrokenWeights(f"{error} {AGAIN}") from error
    origin = f"{network.folder}/{network.weights} sha256:{file_digest(source)}"
    return write_ready(models, network, config, weights, origin)


def _read_config(path: Path) -> Config:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BrokenWeights(f"{path} is missing. Run `voipavatar models download`.") from error
    except ValueError as error:
        raise BrokenWeights(f"{path} is not JSON: {error}. {AGAIN}") from error
    if not isinstance(config, dict):
        raise BrokenWeights(f"{path} holds no configuration. {AGAIN}")
    return config


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a published file; pickles are read without running anything in them."""
    try:
        if path.suffix == ".safetensors":
            published: dict[str, Tensor] = load_file(path)
            return published
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BrokenWeights(f"{path} is missing. Run `voipavatar models download`.") from error
    except UnpicklingError as error:
        if "allowed global" in str(error):
            raise BrokenWeights(
                f"{path} holds more than weights, code that would run when it is read. It was not "
                f"loaded. {AGAIN}"
            ) from error
        raise BrokenWeights(f"{path} is truncated or damaged. {AGAIN}") from error
    except Exception as error:  # torch and zipfile raise many kinds for a damaged file
        raise BrokenWeights(f"{path} is truncated or damaged. {AGAIN}") from error
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise BrokenWeights(f"{path} is not a file of weights. {AGAIN}")
    return loaded


def _renamed(network: Network, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of today's modules: Whisper's encoder alone, new attention names of the VAE."""
    if network.kind == "whisper":
        size = len(_WHISPER_PREFIX)
        picked = {k[size:]: v for k, v in weights.items() if k.startswith(_WHISPER_PREFIX)}
        return picked or weights
    if network.kind == "kl":
        return {_new_attention(name): value for name, value in weights.items()}
    return weights


def _new_attention(name: str) -> str:
    parts = name.split(".")
    if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
        parts[-2] = _OLD_ATTENTION[parts[-2]]
    return ".".join(parts)


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(models: Path) -> Iterator[Verdict]:
    """Read every converted network whole, and compare it with the hash of its conversion."""
    for network in NETWORKS.values():
        path = network.ready_path(models)
        if not path.is_file():
            yield Verdict(network.name, "", 0.0, "not there")
            continue
        size = path.stat().st_size / 2**20
        try:
            header = read_header(path)
            with safe_open(path, framework="pt") as file:
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (EngineError, SafetensorError) as error:
            yield Verdict(network.name, "", size, str(error))
            continue
        same = digest(weights) == header["digest"]
        fault = "" if same else "changed since its conversion; run `voipavatar models convert`"
        yield Verdict(network.name, header.get("origin", "unknown"), size, fault)
