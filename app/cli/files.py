"""Files that a command writes in the end: what cannot be written is refused at its beginning."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def to_be_written(file: Path | None) -> Path | None:
    """Callback of an option. Raises typer.BadParameter."""
    if file is None:
        return None
    folder = file.parent
    if not folder.is_dir():
        raise typer.BadParameter(f"there is no folder {folder}: make it with `mkdir -p {folder}`")
    if file.is_dir():
        raise typer.BadParameter(f"{file} is a folder: name a file in it")
    if not os.access(file if file.exists() else folder, os.W_OK):
        raise typer.BadParameter(f"{file} cannot be written: name another")
    return file
