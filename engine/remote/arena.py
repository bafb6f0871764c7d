"""Memory for pictures that two processes share: one writes, the other reads and gives back."""

from __future__ import annotations

import mmap
import os
import tempfile
import threading

import numpy as np

from engine.core.types import Picture

SIZE = 2 << 30
"""Bytes of an arena; what was never written costs nothing. A session of 512 x 512 holds some
twelve pictures of 0.4 MB at a time."""

PAGE = mmap.PAGESIZE


class Arena:
    """A writer's view: places are taken here and given back by number. From any thread."""

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
        self._end = 0  # nothing was ever placed from here on

    @property
    def taken(self) -> int:
        """Places that have not been given back."""
        return len(self._taken)

    def put(self, picture: Picture) -> int | None:
        """Copy a picture in; its offset. None when the arena is full."""
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
        """Idempotent; the memory goes when the reader has let go of it, too."""
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
    """A reader's view of an arena, by the file that came with the first message."""

    def __init__(self, file: int, size: int) -> None:
        try:
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)

    def picture(self, offset: int, size: int) -> Picture:
        """(size,) writable, as LiveKit wants it; nobody writes to it. It keeps the memory."""
        return np.frombuffer(self._map, np.uint8, size, offset)


def _anonymous_file(size: int) -> int:
    """A file without a name: it goes with the last process that has it open."""
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
