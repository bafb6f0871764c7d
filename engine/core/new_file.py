"""A file that appears whole under its name, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from types import TracebackType


class NewFile:
    """Write to `path`, then `keep()` it; until then the file that had the name stays as it was.

    As a context manager it is kept at the end of the block, and discarded after an exception.
    A link keeps pointing where it does: the file behind it is replaced. Devices and pipes are
    written to directly.
    """

    def __init__(self, final: Path, mode: int | None = None) -> None:
        """Raises OSError where nothing can be written beside it.

        Args:
            mode: of a file that is new; None: what the process's umask leaves.
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
        """Give it its name. Raises OSError."""
        if self._direct:
            return
        if self._final.exists():
            self.path.chmod(self._final.stat().st_mode & 0o777)
        elif self._mode is not None:
            self.path.chmod(self._mode)
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())  # else a loss of power could leave the name with nothing in it
        self.path.replace(self._final)

    def discard(self) -> None:
        """Leave everything as it was."""
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
