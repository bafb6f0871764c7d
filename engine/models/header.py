"""Reads the header of a converted file without the networks' libraries."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from engine.core.engine_errors import BackendUnavailable
from engine.models.layout import NETWORKS

FORMAT = "voipavatar-1"
RECONVERT = "Run `voipavatar models convert` again (or `models init-random`, if it is random)."

LENGTH = 8
"""Bytes at the start of a safetensors file that tell how long its JSON header is."""


def read_header(path: Path) -> dict[str, str]:
    """Format, configuration, origin and digest that a converted file carries.

    Raises:
        BackendUnavailable: the file is damaged, or made by another version.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(LENGTH), "little")
            if size > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            entries = json.loads(file.read(size))
        header: dict[str, str] = dict(entries.pop("__metadata__", {}))
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if LENGTH + size + end != path.stat().st_size:
            raise ValueError("the file ends too early")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackendUnavailable(f"{path} is truncated or damaged.", RECONVERT) from error
    if header.get("format") != FORMAT:
        raise BackendUnavailable(f"{path} was made by another version.", RECONVERT)
    if not header.get("digest") or not _is_config(header.get("config", "")):
        raise BackendUnavailable(f"{path} does not say whole what it holds.", RECONVERT)
    return header


def _is_config(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, TypeError):
        return False


def fingerprint(models: Path, names: tuple[str, ...]) -> str:
    """Short hash of the converted weights of some networks, for the names of what depends on them.

    Raises:
        BackendUnavailable: one is missing or damaged.
    """
    digests = [read_header(NETWORKS[name].ready_path(models))["digest"] for name in names]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:12]
