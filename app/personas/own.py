"""Personas that were made here. They live in the data folder, where git does not see a face."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.personas.edit import with_block, write_file
from engine.core.engine_errors import PersonaError
from engine.core.new_file import NewFile
from engine.core.shortage import blame


class OwnVideo:
    """A video, and where it is kept for its persona."""

    def __init__(self, video: Path, folder: Path, name: str) -> None:
        """`folder` is that of the own personas.yaml; a video that lies in it stays where it is."""
        whole = folder.resolve()
        self._video = video
        self._name = name
        self.place = f"{name}/{video.name}"  # as personas.yaml has it
        if video.resolve().is_relative_to(whole):
            self.place = video.resolve().relative_to(whole).as_posix()
        self._target = folder / self.place

    def look(self, force: bool) -> None:
        """Raises PersonaError where a copy would replace another video."""
        if not self._target.exists() or not self._video.is_file() or force:
            return
        if not filecmp.cmp(self._target, self._video, shallow=False):
            raise PersonaError(
                f"Persona {self._name} has another video of that name, {self._target}: choose "
                "another --name, or add --force to replace it."
            )

    def copy(self) -> bool:
        """Whether a file was made that was not there. Raises OSError."""
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
    """Keep a persona's video and settings in the own folder. Raises PersonaError.

    Nothing is left of it where that fails.
    """
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
        refused = PersonaError(f"Persona {name} cannot be kept in {folder}: {reason}.")
        raise blame(error, refused) from error
