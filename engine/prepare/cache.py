"""Where prepared personas live: a folder named by the hash of everything they are made of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from engine.errors import ResourceShortage, StorageFault
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import Tools
from engine.shortage import shortage_of

FORMAT = 2
"""Raised when what preparation writes changes, so that nobody reads an old folder."""

SIZES_BYTES = 10 << 30
"""What may be kept at sizes that sessions asked for: anybody with a key can ask for a new one."""

PICTURE_BYTES = 4.5
"""Of each pixel of each frame: as BGR, and as I420."""

MANIFEST = "manifest.json"
SIZED = "sized"  # a file in each such folder; its time tells when the folder was last used
UNFINISHED = ".unfinished-"
ABANDONED_S = 3600.0  # age after which an unfinished folder belongs to nobody any more


@lru_cache(maxsize=64)
def _video_hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_key(
    video: Path, settings: PersonaSettings, size: tuple[int, int] | None, tools: Tools
) -> str:
    """Hash of the video's bytes, the settings that matter, the size, the tools and the format."""
    stat = video.stat()
    parts = [
        FORMAT,
        _video_hash(video.resolve(), stat.st_mtime_ns, stat.st_size),
        settings.prepared_with(),
        size,
        tools.names,
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
        if isinstance(shortage := shortage_of(error), ResourceShortage):
            raise shortage from error
        raise StorageFault(f"The persona cannot be stored in {parent}: {reason}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_room(parent: Path, frames: int, width: int, height: int) -> None:
    """Raises StorageFault unless a persona of this size fits on the disk of its folder."""
    folder = parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with suppress(OSError):  # where the system cannot tell, writing will
        disk = os.statvfs(folder)
        free, needed = disk.f_bavail * disk.f_frsize, int(frames * width * height * PICTURE_BYTES)
        if free < needed:
            raise StorageFault(
                f"The disk of {parent} has {free >> 20} MiB left; the persona needs "
                f"{needed >> 20} MiB. Make room, or set VOIPAVATAR_DATA_DIR."
            )


def used(folder: Path) -> None:
    """Note that a persona was wanted now."""
    if (folder / SIZED).exists():
        with suppress(OSError):  # a cache that may only be read is good enough
            now = time.time_ns()  # finer than the file system's own clock
            os.utime(folder / SIZED, ns=(now, now))


def make_room(parent: Path, newest: Path, limit: int = SIZES_BYTES) -> None:
    """Remove sizes that were not used for longest, while all of them take more than the limit.

    The videos' own sizes stay, for their number is the operator's choice. Sessions that show a
    removed persona go on: what they have mapped lives until they let go.
    """
    with suppress(OSError):  # another process makes room at the same time
        marks = sorted(parent.glob(f"[!.]*/{SIZED}"), key=lambda mark: mark.stat().st_mtime_ns)
        sizes = {mark.parent: _bytes(mark.parent) for mark in marks}
        total = sum(sizes.values())
        for folder, taken in sizes.items():
            if total <= limit:
                break
            if folder != newest:
                gone = folder.rename(parent / f"{UNFINISHED}{uuid.uuid4().hex}")
                shutil.rmtree(gone, ignore_errors=True)
                total -= taken


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _sweep(parent: Path) -> None:
    """Remove what a killed process left half done."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)
