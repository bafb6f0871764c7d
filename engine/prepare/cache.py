"""The cache of prepared personas: each folder is named by the hash of all its inputs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from engine.core.engine_errors import ResourceShortage, StorageFault
from engine.core.persona import Persona
from engine.core.shortage import shortage_of
from engine.prepare.settings import PersonaSettings
from engine.prepare.tools import Tools

FORMAT = 2
"""Increase when the prepared format changes, so that old folders are not read."""

SIZES_BYTES = 10 << 30
"""Limit on personas kept at sizes that sessions requested: any key's holder can request more."""

SIZES_EACH = 8
"""Limit per persona; those in use by sessions count, but are never removed."""

PICTURE_BYTES = 4.5
"""Per pixel and frame: as BGR, and as I420."""

MANIFEST = "manifest.json"
SIZED = "sized"
"""A file in each such folder. It contains the key of the video's own size; its modification time is
the folder's last use; every process that shows the persona holds a lock on it."""

UNFINISHED = ".unfinished-"
ABANDONED_S = 3600.0  # age after which an unfinished folder counts as abandoned


@lru_cache(maxsize=64)
def _video_hash(path: Path, mtime_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_key(
    video: Path, settings: PersonaSettings, size: tuple[int, int] | None, tools: Tools
) -> str:
    """Hash of the video's bytes, the relevant settings, the size, the tools and the format."""
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


def unfinished_name() -> str:
    """A unique name for an unfinished folder."""
    return f"{UNFINISHED}{uuid.uuid4().hex}"


@contextmanager
def new_folder(final: Path, unfinished: str | None = None) -> Iterator[Path]:
    """A folder to fill, which becomes `final` atomically, or not at all.

    Two processes may prepare the same persona: the first to finish wins, with the same result.
    `unfinished` names the folder meanwhile, for a caller that may have to remove it.
    """
    parent = final.parent
    temporary = parent / (unfinished or unfinished_name())
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


def in_use(folder: Path) -> int | None:
    """An open file that keeps `make_room` from a persona while it is open, in any process.

    None where the folder is of a video's own size, or cannot be locked.
    """
    try:
        mark = os.open(folder / SIZED, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(mark)
        return None
    return mark


def keep_while_used(persona: Persona, mark: int | None) -> None:
    """Close what `in_use` opened when nobody has the persona any more."""
    if mark is not None:
        weakref.finalize(persona, os.close, mark)


def make_room(parent: Path, newest: Path, limit: int = SIZES_BYTES, most: int = SIZES_EACH) -> None:
    """Remove the sizes that were not used for longest, while there are too many of them.

    The newest one's persona may have `most`, and those of all personas `limit` bytes. What a
    session shows stays, and so do the videos' own sizes, whose number is the operator's choice.
    """
    with suppress(OSError):  # another process makes room at the same time
        marks = sorted(parent.glob(f"[!.]*/{SIZED}"), key=lambda mark: mark.stat().st_mtime_ns)
        owners = {mark.parent: mark.read_text() for mark in marks}
        sizes = {folder: _bytes(folder) for folder in owners}
        total, owner = sum(sizes.values()), owners.get(newest)
        too_many = sum(each == owner for each in owners.values()) - most
        for folder, taken in sizes.items():
            surplus = too_many > 0 and owners[folder] == owner
            if folder != newest and (surplus or total > limit) and _removed(folder):
                total -= taken
                too_many -= owners[folder] == owner


def _removed(folder: Path) -> bool:
    """False where it is in use."""
    with (folder / SIZED).open("rb") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        gone = folder.rename(folder.with_name(unfinished_name()))
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _sweep(parent: Path) -> None:
    """Remove what a killed process left half done."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_S:
            shutil.rmtree(folder, ignore_errors=True)
