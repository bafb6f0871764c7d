"""Separates shortages of the machine from faults of the input.

A full disk or a lack of file descriptors can fail any open or write: while a persona is read,
prepared or stored. Such an error says nothing about the persona.
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
    errno.EIO: "the disk is failing",
    errno.ESTALE: "the network file system is gone",
    errno.EFBIG: "the file size limit is reached",
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
    """The shortage that caused an error; None if the work itself is at fault.

    Also checks the errors that it was raised from, since libraries wrap the system's errors.
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
    """A shortage if no file can be opened now; for libraries that do not say why they failed."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        shortage = shortage_of(error)
        return shortage if isinstance(shortage, ResourceShortage) else None
    return None


def blame(error: BaseException, otherwise: EngineError) -> EngineError:
    """The error to raise: the machine's shortage if there is one, else `otherwise`."""
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
