"""Layout of the models folder: published weights, and weights converted for serving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.core.engine_errors import BackendUnavailable

Kind = Literal["unet", "kl", "tiny", "whisper"]

READY = "ready"
"""Folder of the converted weights, inside the models folder."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network and its published files (musetalk.md §1.1)."""

    name: str
    kind: Kind
    folder: str  # inside the models folder, as upstream lays it out
    weights: str
    config: str
    repo: str  # on the Hugging Face hub
    remote: str  # folder of the files in that repository

    def weights_path(self, models: Path) -> Path:
        return models / self.folder / self.weights

    def config_path(self, models: Path) -> Path:
        return models / self.folder / self.config

    def ready_path(self, models: Path) -> Path:
        return models / READY / f"{self.name}.safetensors"


_MUSETALK = "TMElyralab/MuseTalk"

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "unet-v15", "unet", "musetalkV15", "unet.pth", "musetalk.json", _MUSETALK, "musetalkV15"
        ),
        Network(
            "unet-v1",
            "unet",
            "musetalk",
            "pytorch_model.bin",
            "musetalk.json",
            _MUSETALK,
            "musetalk",
        ),
        Network(
            "kl",
            "kl",
            "sd-vae",
            "diffusion_pytorch_model.bin",
            "config.json",
            "stabilityai/sd-vae-ft-mse",
            "",
        ),
        Network(
            "tiny",
            "tiny",
            "taesd",
            "diffusion_pytorch_model.safetensors",
            "config.json",
            "madebyollin/taesd",
            "",
        ),
        Network(
            "whisper",
            "whisper",
            "whisper",
            "pytorch_model.bin",
            "config.json",
            "openai/whisper-tiny",
            "",
        ),
    )
}


def needed(version: str, decoder: str) -> tuple[str, ...]:
    """Names of the networks that serving takes. The KL network also encodes the personas."""
    names = (f"unet-{version}", "whisper", "kl", decoder)
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise BackendUnavailable(
            f"There is no network {unknown[0]}: MuseTalk is v15 or v1, its decoder kl or tiny."
        )
    return tuple(dict.fromkeys(names))


def missing(models: Path, names: tuple[str, ...]) -> None:
    """Raise BackendUnavailable when converted weights are not there."""
    absent = [name for name in names if not NETWORKS[name].ready_path(models).is_file()]
    if absent:
        raise BackendUnavailable(
            f"{models / READY} has no weights of {', '.join(absent)}.",
            "Run `voipavatar models download` and `voipavatar models convert`; random weights that "
            "only show that it runs come from `voipavatar models init-random`.",
        )
