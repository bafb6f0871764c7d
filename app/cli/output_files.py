"""Files that the user names: written whole, and never over one that the command did not write.

A file of ours says which command made it: an mp4 in its comment, JSON in the key `made_by`, a page
in its `generator`, Markdown in a comment at its end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av

from app.process.private_files import callers_mode
from engine.core.new_file import NewFile

MADE_BY = "made_by"
LONGEST = 64 << 20  # bytes of a report of ours; a longer file is somebody else's


def refusal(
    file: Path, option: str, maker: str, *, force: bool = False, inputs: Iterable[Path] = ()
) -> str | None:
    """Why the file that an option names must not be written, as a sentence; None if it may be.

    Args:
        maker: the command, as in `voipavatar demo`; it may replace what it wrote before.
        force: other files may be replaced too, but never one of the inputs.
    """
    try:
        return _cannot_be_written(file, option) or _would_be_lost(
            file, option, maker, force, inputs
        )
    except OSError as error:  # a name that is too long, a loop of links
        return f"{file} cannot be written ({error.strerror}): name another file for {option}."


def write_text(file: Path, text: str) -> None:
    """Raises OSError; the file that was there then stays."""
    with NewFile(file, callers_mode()) as new:
        new.write_text(text, encoding="utf-8")


def write_json(file: Path, body: Any, maker: str) -> None:
    """A mapping, or a list of mappings, with the mark of its maker. Raises OSError."""
    marked = (
        [{MADE_BY: maker, **each} for each in body]
        if isinstance(body, list)
        else {MADE_BY: maker, **body}
    )
    write_text(file, json.dumps(marked, indent=2) + "\n")


def write_page(file: Path, html: str, maker: str) -> None:
    """An HTML page, with the mark in its head. Raises OSError."""
    write_text(file, html.replace("<head>", f"<head>{_generator(maker)}", 1))


def _generator(maker: str) -> str:
    return f'<meta name="generator" content="{maker}">'


def _cannot_be_written(file: Path, option: str) -> str | None:
    target = Path(os.path.realpath(file))
    folder = target.parent if file.is_symlink() else file.parent
    if not folder.is_dir():
        return f"There is no folder {folder} for {option}: make it with `mkdir -p {folder}`."
    if target.is_dir():
        return f"{file} is a folder: name a file for {option}."
    special = target.exists() and not target.is_file()
    # A file is replaced, not written over: its folder has to take a new one.
    if not os.access(target if special else folder, os.W_OK):
        return f"{file} cannot be written: name another file for {option}."
    if target.is_file() and not os.access(target, os.W_OK):
        return f"{file} is write-protected: name another file for {option}."
    return None


def _would_be_lost(
    file: Path, option: str, maker: str, force: bool, inputs: Iterable[Path]
) -> str | None:
    if not file.is_file():
        return None
    for source in inputs:
        if source.exists() and source.samefile(file):
            return f"{file} is what this command reads: name another file with {option}."
    if force or made_by(file, maker):
        return None
    link = f" (a link to {file.resolve()})" if file.is_symlink() else ""
    return (
        f"{file}{link} exists, and `{maker}` did not write it: name another file with {option}, "
        "or add --force to replace it."
    )


def made_by(file: Path, maker: str) -> bool:
    """Whether the command wrote this file, by the mark in it."""
    try:
        with file.open("rb") as opened:
            head = opened.read(4096)
        if head[4:8] == b"ftyp":
            with av.open(str(file)) as container:
                return bool(container.metadata.get("comment") == maker)
        if file.stat().st_size > LONGEST:
            return False
        text = file.read_text(encoding="utf-8")
    except (OSError, av.FFmpegError, UnicodeDecodeError):
        return False
    if text.lstrip()[:1] in ("{", "["):
        return _marked(text, maker)
    return _generator(maker) in text[:4096] or text.rstrip().endswith(f"<!-- {maker} -->")


def _marked(text: str, maker: str) -> bool:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return False
    first = body[0] if isinstance(body, list) and body else body
    return isinstance(first, dict) and first.get(MADE_BY) == maker
