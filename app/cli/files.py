"""Files that a command writes in the end: what cannot be written is refused at its beginning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def unwritable(file: Path, option: str) -> str | None:
    """Why the file that an option names cannot be written, as a sentence; None if it can."""
    folder = file.parent
    if not folder.is_dir():
        return f"There is no folder {folder} for {option}: make it with `mkdir -p {folder}`."
    if file.is_dir():
        return f"{file} is a folder: name a file for {option}."
    if not os.access(file if file.exists() else folder, os.W_OK):
        return f"{file} cannot be written: name another file for {option}."
    return None


def to_be_written(param: typer.CallbackParam, file: Path | None) -> Path | None:
    """Callback of an option. Raises typer.BadParameter."""
    if file is not None and (trouble := unwritable(file, param.opts[0])):
        raise typer.BadParameter(trouble)
    return file


Json = Annotated[
    Path | None,
    typer.Option("--json", help="Write the numbers there, too.", callback=to_be_written),
]
