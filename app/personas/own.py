"""Personas made here. They live in the data folder, so that no face gets into git."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.personas.edit import with_block, write_file
from engine import PersonaError
from engine.core.new_file import NewFile
from engine.core.shortage import blame


class OwnVideo:
    """A persona's video and where it is stored."""

    def __init__(self, video: Path, folder: Path, name: str) -> None:
        """`folder` holds the own personas.yaml; a video already inside it is not copied."""
        whole = folder.resolve()
        self._video = video
        self._name = name
        self.place = f"{name}/{video.name}"  # as written in personas.yaml
        if video.resolve().is_relative_to(whole):
            self.place = video.resolve().relative_to(whole).as_posix()
        self._target = folder / self.place

    def check(self, force: bool) -> None:
        """Raises PersonaError if a copy would replace a different video."""
        if not self._target.exists() or not self._video.is_file() or force:
            return
        if not filecmp.cmp(self._target, self._video, shallow=False):
            raise PersonaError(
                f"Persona {self._name} already has a different video {self._target}: choose "
                "another --name, or add --force to replace it."
            )

    def copy(self) -> bool:
        """Copy the video if needed; True if that created a file. Raises OSError."""
        if self._target.exists() and self._target.samefile(self._video):
            return False
        is_new = not self._target.exists()
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with NewFile(self._target) as new:
            shutil.copyfile(self._video, new)
        return is_new

    def remove(self) -> None:
        self._target.unlink(missing_ok=True)


def store(folder: Path, name: str, keys: Mapping[str, Any], video: OwnVideo | None) -> None:
    """Store a persona's video and settings in the own folder. Raises PersonaError.

    A failure leaves nothing behind.
    """
    text = with_block(folder, name, keys)  # refuses an uneditable file before the copy
    text = with_block(folder, name, keys)  # what cannot be edited is refused before the copy
    copied = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copied = video is not None and video.copy()
        write_file(folder, text)
    except OSError as error:
        if video is not None and copied:
            video.remove()
        reason = error.strerror or error
        refused = PersonaError(f"Persona {name} cannot be stored in {folder}: {reason}.")
        raise blame(error, refused) from error
