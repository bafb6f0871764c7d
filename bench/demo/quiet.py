"""Keeps what native libraries write to standard error out of what a person reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def native_lines_to(log: Path) -> Iterator[None]:
    """Send descriptor 2, to which codecs print as they like, to a file; Python's own errors stay
    where they were."""
    sys.stderr.flush()
    before, python = os.dup(2), sys.stderr
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        with os.fdopen(os.dup(before), "w", buffering=1) as shown:
            sys.stderr = shown
            try:
                yield
            finally:
                sys.stderr = python
    finally:
        os.dup2(before, 2)
        os.close(before)
