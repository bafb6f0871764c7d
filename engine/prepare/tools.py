"""Selects what finds faces and their regions: networks if their weights exist, else OpenCV."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from engine.models.published import LANDMARKS, PARSER
from engine.prepare.faces import FaceFinder
from engine.prepare.landmarks import LandmarkFinder, Landmarks
from engine.prepare.parser import FaceParser
from engine.prepare.settings import PersonaSettings


@dataclass(frozen=True, slots=True)
class Tools:
    """Files of the networks; None selects OpenCV's cascade, or a typical jaw."""

    landmarks_path: Path | None = None
    parser_path: Path | None = None

    def finder(self, video: str, settings: PersonaSettings) -> FaceFinder:
        """A new finder for a video. Raises BackendUnavailable if its file is damaged."""
        if self.landmarks_path is None:
            return FaceFinder(video, settings.bbox_shift)
        landmarks = Landmarks(self.landmarks_path)
        smooth = settings.smooth_boxes
        return LandmarkFinder(landmarks, video, settings.bbox_shift, smooth=smooth)

    def parser(self) -> FaceParser | None:
        """The face parser, if there is one. Raises BackendUnavailable if it is damaged."""
        return None if self.parser_path is None else FaceParser(self.parser_path)

    @property
    def names(self) -> dict[str, str]:
        """Names for the manifest and for a persona's key."""
        return {
            "faces": _named("dwpose", self.landmarks_path) or "haar",
            "mask": _named("bisenet", self.parser_path) or "geometric",
        }


def _named(name: str, path: Path | None) -> str | None:
    if path is None:
        return None
    stat = path.stat()
    return f"{name} {_digest(path, stat.st_mtime_ns, stat.st_size)[:12]}"


@lru_cache(maxsize=8)
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tools_in(models: Path) -> Tools:
    """The networks whose files are in the models folder, if ONNX Runtime is installed."""
    if find_spec("onnxruntime") is None:
        return Tools()
    paths = (models / file.local for file in (LANDMARKS, PARSER))
    return Tools(*(path if path.is_file() else None for path in paths))
