"""Atomic file writing: the file appears complete or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from types import TracebackType


class NewFile:
    """Write to `path`, then call `keep()`; until then an existing file stays unchanged.

    As a context manager, it keeps the file at the end of the block and discards it after an
    exception. A symbolic link stays, and its target is replaced. Devices and pipes are written to
    directly.
    """

    def __init__(self, final: Path, mode: int | None = None) -> None:
        """Raises OSError if the target's folder is not writable.

        Args:
            mode: permissions of a new file; None applies the process's umask.
        """
        self._final = Path(os.path.realpath(final))
        self._mode = mode
        self._direct = self._final.exists() and not self._final.is_file()
        if self._direct:
            self.path = self._final
            return
        self.path = self._final.with_name(f".{secrets.token_hex(6)}.unfinished")
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def keep(self) -> None:
        """Moves the file to its final name. Raises OSError."""
        if self._direct:
            return
        if self._final.exists():
            self.path.chmod(self._final.stat().st_mode & 0o777)
        elif self._mode is not None:
            self.path.chmod(self._mode)
        with self.path.open("rb+") as file:
            os.fsync(
                file.fileno()
            )  # otherwise a power failure could leave an empty file under this name
        self.path.replace(self._final)

    def discard(self) -> None:
        """Deletes the unfinished file; an existing one stays unchanged."""
        if not self._direct:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        __: TracebackType | None,
    ) -> None:
        if error is not None:
            self.discard()
            return
        try:
            self.keep()
        except OSError:
            self.discard()
            raise
