"""Tells what the machine lacks from what a caller did wrong.

A full disk or a process out of file descriptors fails wherever a file is opened or written: while a
persona is read, prepared, or stored. None of it says anything about the persona.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from engine.core.engine_errors import EngineError, ResourceShortage, StorageFault

STORAGE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk fails",
    errno.ESTALE: "the network file system is gone",
    errno.EFBIG: "the limit of a file's size is reached",
}
RESOURCES = {
    errno.EMFILE: "the process has no file descriptor left (`ulimit -n`)",
    errno.ENFILE: "the system has no file descriptor left",
    errno.ENOMEM: "there is no memory left",
    errno.ENOBUFS: "there is no memory left for the network",
}
NO_THREAD = "can't start new thread"  # of Python's RuntimeError
NO_MEMORY = ("bad_alloc", "Insufficient memory", "Failed to allocate")  # of OpenCV's errors


def shortage_of(error: BaseException) -> StorageFault | ResourceShortage | None:
    """What the machine lacks, where an error comes from that; None where it comes from the work.

    What an error was raised from is looked at, too: libraries wrap the system's errors.
    """
    for each in _chain(error):
        if isinstance(each, StorageFault | ResourceShortage):
            return each
        number = each.errno if isinstance(each, OSError) else None
        if number in STORAGE:
            return StorageFault(f"Nothing can be stored: {STORAGE[number]}.")
        if number in RESOURCES:
            return ResourceShortage(f"The service is short of resources: {RESOURCES[number]}.")
        if _no_memory(each):
            return ResourceShortage(
                f"The service is short of resources: {RESOURCES[errno.ENOMEM]}."
            )
        if isinstance(each, RuntimeError) and NO_THREAD in str(each):
            return ResourceShortage("The service is short of resources: no thread can be started.")
    return None


def out_of_descriptors() -> ResourceShortage | None:
    """Whether no file can be opened now; for work of libraries that do not say why it failed."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        shortage = shortage_of(error)
        return shortage if isinstance(shortage, ResourceShortage) else None
    return None


def blame(error: BaseException, otherwise: EngineError) -> EngineError:
    """What to raise for an error: the machine's shortage, or what it says about the work."""
    return shortage_of(error) or otherwise


def _no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    return type(error).__module__ == "cv2" and any(sign in str(error) for sign in NO_MEMORY)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        before = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if before is not None:
            waiting.append(before)
