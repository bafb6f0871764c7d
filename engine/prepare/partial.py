"""Intermediate results of a preparation, kept so that an interrupted run can resume."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial-"
"""Prefix of a persona's key; the folder is removed once the persona is ready or refused."""

FORGOTTEN_S = 7 * 86_400.0  # age after which it is removed

CHECKSUM = 4  # bytes before each record


class Records:
    """Records in the order of their frames: those of the previous run, then new ones.

    Each has a checksum, so that a torn or unwritten record is detected; it and all later ones are
    computed again.
    """

    def __init__(self, file: BinaryIO | None) -> None:
        """`file`: opened unbuffered to read and append; None keeps nothing."""
        self._file = file
        self._reads = file is not None
        if file is not None:
            file.seek(0)

    def read(self, size: int) -> bytes | None:
        """The next record of `size` bytes, if the previous run wrote it."""
        if self._file is None or not self._reads:
            return None
        begun = self._file.tell()
        checksum, record = self._file.read(CHECKSUM), self._file.read(size)
        if len(record) == size and checksum == _checksum(record):
            return record
        self._reads = False
        self._file.truncate(begun)
        return None

    def add(self, record: bytes) -> None:
        """Appends a record that `read` did not return. Raises OSError."""
        if self._file is not None:
            self._file.write(_checksum(record) + record)


def _checksum(record: bytes) -> bytes:
    return zlib.crc32(record).to_bytes(CHECKSUM, "little")


class Partial:
    """The records of one preparation."""

    def __init__(self, folder: Path | None, files: ExitStack) -> None:
        self._folder = folder
        self._files = files

    def records(self, name: str) -> Records:
        if self._folder is None:
            return Records(None)
        # A regular file takes all of a write, or raises.
        file = (self._folder / name).open("a+b", buffering=0)
        return Records(self._files.enter_context(file))


@contextmanager
def partial_work(parent: Path, key: str) -> Iterator[Partial]:
    """The intermediate results of an earlier preparation with this key.

    They are removed when the work is done or refused, and stay if the process is interrupted or
    killed. One process at a time uses them; a concurrent one starts from the beginning.

    Raises:
        OSError: the folder cannot be made.
    """
    _sweep(parent)
    folder = parent / f"{PARTIAL}{key}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    with ExitStack() as files:
        lock = files.enter_context((folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Partial(None, files)
            return
        try:
            yield Partial(folder, files)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Removes abandoned results."""
    for folder in parent.glob(f"{PARTIAL}*"):
        with suppress(OSError):  # another process sweeps at the same time
            if time.time() - folder.stat().st_mtime > FORGOTTEN_S:
                shutil.rmtree(folder, ignore_errors=True)
