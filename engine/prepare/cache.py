"""Where prepared personas live: a folder named by the hash of everything they are made of."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from engine.errors import PersonaError
from engine.prepare.settings import PersonaSettings

FORMAT = 2
"""Raised when what preparation writes changes, so that nobody reads an old folder."""

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished-"
ABANDONED_S = 3600.0  # age after which an unfinished folder belongs to nobody any more


@lru_cache(maxsize=64)
def _video_hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_key(video: Path, settings: PersonaSettings, size: tuple[int, int] | None) -> str:
    """Hash of the video's bytes, the settings that matter, the size and the format."""
    stat = video.stat()
    parts = [
        FORMAT,
        _video_hash(video.resolve(), stat.st_mtime_ns, stat.st_size),
        settings.prepared_with(),
        size,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `final` at once and whole, or not at all.

    Two processes may prepare the same persona: the first to finish wins, and both have the same.
    """
    parent = final.parent
    temporary = parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        temporary.mkdir()
        yield temporary
        try:
            temporary.rename(final)
        except OSError:
            if not is_prepared(final):
                raise
    except OSError as error:
        reason = error.strerror or error
        raise PersonaError(f"The persona cannot be stored in {parent}: {reason}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what a killed process left half done."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)
