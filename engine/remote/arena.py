"""Picture memory shared by two processes: one writes, the other reads and releases."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading

import numpy as np

from engine.core.types import Picture

SIZE = 2 << 30
"""Size of an arena in bytes; pages that were never written cost nothing. A session at 512 x 512
holds about twelve pictures of 0.4 MB at a time."""

PAGE = mmap.PAGESIZE


class Arena:
    """The writer's side: allocates places and frees them by offset. Thread-safe."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.file = _anonymous_file(size)
        try:
            self._map = mmap.mmap(self.file, size)
        except (OSError, ValueError):
            self.close()
            raise
        self._bytes = np.frombuffer(self._map, np.uint8)
        self._lock = threading.Lock()
        self._free: dict[int, list[int]] = {}  # by size in whole pages
        self._taken: dict[int, int] = {}  # offset -> size in whole pages
        self._end = 0  # nothing was ever placed beyond this offset

    @property
    def taken(self) -> int:
        """Number of places that have not been given back."""
        return len(self._taken)

    def put(self, picture: Picture) -> int | None:
        """Copies a picture in; returns its offset, or None if the arena is full."""
        offset = self._take(picture.nbytes)
        if offset is not None:
            self._bytes[offset : offset + picture.nbytes] = picture
        return offset

    def give_back(self, offset: int) -> None:
        with self._lock:
            size = self._taken.pop(offset, None)
            if size is not None:
                self._free.setdefault(size, []).append(offset)

    def close(self) -> None:
        """Idempotent; the memory is freed once the reader has released it as well."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def _take(self, wanted: int) -> int | None:
        size = -(-wanted // PAGE) * PAGE
        with self._lock:
            free = self._free.get(size)
            if free:
                offset = free.pop()
            elif self._end + size <= self.size:
                offset, self._end = self._end, self._end + size
            else:
                return None
            self._taken[offset] = size
        return offset


class ArenaView:
    """The reader's side, mapped from the file that came with the first message."""

    def __init__(self, file: int, size: int) -> None:
        try:
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)

    def picture(self, offset: int, size: int) -> Picture:
        """(size,) writable, as LiveKit requires, though never written to. Keeps the map alive."""
        return np.frombuffer(self._map, np.uint8, size, offset)


def _anonymous_file(size: int) -> int:
    """A file without a name; it disappears with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("voipavatar-pictures")
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    try:
        os.ftruncate(file, size)
    except OSError:
        os.close(file)
        raise
    return file
