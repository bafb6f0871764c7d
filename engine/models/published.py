"""The published files: where they are, how long, and what their hashes are said to be.

Nothing of this could be fetched where it was written. Revisions, sizes and hashes are those on
which several independent public projects agree; a file that nobody's record was found of has none,
and is checked against what the hub itself says when it is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.models.layout import NETWORKS, Network

REVISIONS = {
    "TMElyralab/MuseTalk": "3ef28bc5cff08c90ad8178a25f1b570cd800170f",
    "stabilityai/sd-vae-ft-mse": "31f26fdeee1355a5c34592e401dd41e45d25a493",
    "madebyollin/taesd": "614f76814bbe30edbe2e627ace1c2234c81a2c0e",
    "openai/whisper-tiny": "169d4a4341b33bc18d8881c4b69c2e104e1cc0af",
    "yzd-v/DWPose": "1a7144101628d69ee7a3768d1ee3a094070dc388",
    "facefusion/models-3.1.0": "e2868ea5014dcfde10bd0e3a7146aae80e11eca6",
}


@dataclass(frozen=True, slots=True)
class Published:
    """One file of a repository on the hub."""

    repo: str
    remote: str  # path in the repository
    local: str  # path in the models folder
    size: int | None = None  # bytes
    sha256: str | None = None

    @property
    def revision(self) -> str:
        return REVISIONS[self.repo]


_KNOWN: dict[str, tuple[int | None, str]] = {
    "musetalkV15/unet.pth": (
        3_400_074_924,
        "7ebf6c98c181e20838e4c0054e96e944ac60d5d692cc01db42839fe11b787007",
    ),
    "musetalkV15/musetalk.json": (
        None,
        "5b6923aee04d71692e0e9846c471e0a4ea07a4f686d39545e472bd4ba17e1b47",
    ),
    "sd-vae/config.json": (
        547,
        "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
    ),
    "sd-vae/diffusion_pytorch_model.bin": (
        334_707_217,
        "1b4889b6b1d4ce7ae320a02dedaeff1780ad77d415ea0d744b476155c6377ddc",
    ),
    "whisper/config.json": (
        None,
        "ffdccec4f3211f4c63310f2b7098f309fe70f3952cedc5e4d11e43f5b2379b98",
    ),
    "whisper/pytorch_model.bin": (
        151_095_027,
        "9607f98a2b22d9e229ae43c52ecea79dcede9e0c5cfae67e8da6eda86d8aac1d",
    ),
}


LANDMARKS = Published(
    "yzd-v/DWPose",
    "dw-ll_ucoco_384.onnx",
    "dwpose/dw-ll_ucoco_384.onnx",
    134_399_116,
    "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
)
"""DWPose, which finds the 68 points of a face when a persona is prepared."""

PARSER = Published(
    "facefusion/models-3.1.0",
    "bisenet_resnet_18.onnx",
    "face-parse-bisent/bisenet.onnx",
    53_205_356,
    "2218b6183c26ca5c83303232d682a536c670c13ea9695f716c777d1f244eefe9",
)
"""BiSeNet of 19 classes, which finds the region of a face that is painted.

Another training (yakhyo/face-parsing) of upstream's parser, whose own weights are published only in
PyTorch's pickled format; an ONNX file made of those can lie in its place.
"""


def files_of(network: Network) -> tuple[Published, ...]:
    """Configuration and weights of a network."""

    def published(name: str) -> Published:
        remote = f"{network.remote}/{name}" if network.remote else name
        local = f"{network.folder}/{name}"
        return Published(network.repo, remote, local, *_KNOWN.get(local, (None, None)))

    return published(network.config), published(network.weights)


def all_files() -> tuple[Published, ...]:
    networks = (file for network in NETWORKS.values() for file in files_of(network))
    return (*networks, LANDMARKS, PARSER)


def places(models: Path, files: Iterable[Published]) -> str:
    """Source and target of each missing file, one per line."""
    return "\n".join(
        f"  {models / file.local}  from {file.repo} @ {file.revision}: {file.remote}"
        for file in files
        if not (models / file.local).is_file()
    )
