"""A folder of reference vectors, as read; and what a comparison with one says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.core.engine_errors import EngineError

EXACT = 0.0
LEVEL = 1.0  # of 255


class BrokenVectors(EngineError):
    """The folder is not one of reference vectors, or part of it is missing or damaged."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report.

    Attributes:
        error: largest absolute difference; inf where shapes differ or a NaN appears.
        note: why a check failed without a number, or could not run.
        ran: False where this installation lacks what the check needs.
    """

    check: str
    error: float
    allowed: float
    note: str = ""
    ran: bool = True

    @property
    def passed(self) -> bool:
        return self.ran and self.error <= self.allowed


class Comparison:
    """The largest error of several comparisons that make one check."""

    def __init__(self, check: str, allowed: float = EXACT) -> None:
        self._check, self._allowed = check, allowed
        self._error = 0.0
        self._notes: list[str] = []

    def add(self, case: str, got: ArrayLike, expected: ArrayLike) -> None:
        """Compare one array with the reference's; `case` names it where it differs."""
        ours, theirs = np.asarray(got), np.asarray(expected)
        if ours.shape != theirs.shape:
            self.wrong(f"{case}: shape {ours.shape}, the reference's is {theirs.shape}")
            return
        if ours.size == 0:
            return
        error = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
        if not error <= self._allowed:  # a NaN is not
            self._notes.append(case)
        self._error = max(self._error, error if error == error else np.inf)

    def wrong(self, case: str) -> None:
        """Something that has no distance is not as in the reference."""
        self._notes.append(case)
        self._error = np.inf

    @property
    def result(self) -> Result:
        return Result(self._check, self._error, self._allowed, ", ".join(self._notes))


class Vectors:
    """One file of the folder: arrays by key."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.npz"
        if not self._path.is_file():
            raise BrokenVectors(f"{self._path} is missing: a folder of vectors has this file.")
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self._arrays: dict[str, NDArray[Any]] = {key: arrays[key] for key in arrays}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise BrokenVectors(f"{self._path} cannot be read as an .npz file: {error}.") from error

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def __getitem__(self, key: str) -> NDArray[Any]:
        try:
            return self._arrays[key]
        except KeyError:
            raise BrokenVectors(f"{self._path} has no array {key!r}.") from None

    def some(self, prefix: str) -> list[str]:
        """Keys that begin so, at least one; sorted."""
        found = sorted(key for key in self._arrays if key.startswith(prefix))
        if not found:
            raise BrokenVectors(f"{self._path} has no array {prefix}….")
        return found

    def ending(self, suffix: str) -> list[str]:
        """Keys that end so, at least one; sorted."""
        found = sorted(key for key in self._arrays if key.endswith(suffix))
        if not found:
            raise BrokenVectors(f"{self._path} has no array …{suffix}.")
        return found
