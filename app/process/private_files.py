"""Keeps the service's files readable by their owner only, whatever the umask at start."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o077  # the permissions that others must not have; also a umask
OURS = {
    *(f"voipavatar.db{end}" for end in ("", "-wal", "-shm", "-journal", ".lock")),
    *("voipavatar.log", "livekit.log"),  # of a demo left running
    *("personas", "own"),
}
"""What the service creates in its data folder."""


def _read_umask() -> int:
    known = os.umask(PRIVATE)
    os.umask(known)
    return known


_callers = _read_umask()


@contextmanager
def private_files() -> Iterator[None]:
    """Make files and folders created in this block, also by child processes, private."""
    global _callers
    _callers = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(_callers)


def callers_umask() -> int:
    """The umask at start, for files that are not the service's own data."""
    return _callers


def callers_mode() -> int:
    """The mode for a file that the user named."""
    return 0o666 & ~_callers


def keep_private(folder: Path) -> str | None:
    """Create the data folder, or take away other users' access to it.

    Returns what its owner has to mend, as a sentence with the command, or None. Files that the
    service did not create stay as they are, and so does a folder that holds such files.

    Raises OSError if the folder cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = folder.resolve()
    names = {entry.name for entry in folder.iterdir()}
    for name in names & OURS:
        _tighten(folder / name)
    known = folder.stat()
    if known.st_uid not in (0, os.geteuid()):
        return f"{folder} belongs to another user: chown -R {os.geteuid()} {folder}"
    if known.st_mode & PRIVATE and names <= OURS:
        _take_from_others(folder)
        known = folder.stat()
    if known.st_mode & PRIVATE:
        return f"{folder} is open to other users of this machine: chmod 700 {folder}"
    return None


def _tighten(path: Path) -> None:
    _take_from_others(path)
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                _take_from_others(Path(folder) / name)


def _take_from_others(path: Path) -> None:
    with suppress(OSError):  # another process removes it, or another user owns it
        known = path.lstat()
        if known.st_mode & PRIVATE and not stat.S_ISLNK(known.st_mode):
            path.chmod(stat.S_IMODE(known.st_mode) & ~PRIVATE)
