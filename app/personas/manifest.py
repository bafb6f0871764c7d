"""personas.yaml: a block for each persona, with paths relative to the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from engine import PersonaError
from engine.core.shortage import blame
from engine.prepare.settings import MUSETALK_KEYS, NEWEST, PersonaSettings, parse_settings

FILE = "personas.yaml"


PATHS = ("video_path", "inference_config")  # keys relative to the folder of their file


def read_blocks(personas_dir: Path, own_dir: Path | None = None) -> dict[str, Any]:
    """Blocks by name, unchecked; empty if there is no file. Raises PersonaError.

    Args:
        own_dir: a second folder, whose keys override those of the same persona in the first. Its
            paths are returned absolute.
    """
    blocks = _blocks(personas_dir / FILE)
    if own_dir is None:
        return blocks
    for name, block in _blocks(own_dir / FILE).items():
        if isinstance(block, Mapping):
            block = {**_mapping(blocks.get(name)), **_with_whole_paths(block, own_dir)}
        blocks[name] = block
    return blocks


def _blocks(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    return {str(name): block for name, block in _load(file).items()}


def _with_whole_paths(block: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    whole = {
        key: str(folder.absolute() / value)
        for key, value in block.items()
        if key in PATHS and isinstance(value, str) and value
    }
    return {**block, **whole}


def settings_of(
    name: str, block: object, personas_dir: Path, version: str = NEWEST
) -> PersonaSettings:
    """Checked settings of one persona, including `inference_config`. Raises PersonaError.

    Args:
        version: the MuseTalk version in use.
    """
    settings = parse_settings(name, block, version)
    if not settings.inference_config:
        return settings
    shared = _load(personas_dir / settings.inference_config)
    defaults = {key: value for key, value in shared.items() if key in MUSETALK_KEYS}
    return parse_settings(name, {**defaults, **_mapping(block)}, version)


def video_of(settings: PersonaSettings, personas_dir: Path) -> Path:
    return personas_dir / settings.video_path


def _mapping(block: object) -> Mapping[str, Any]:
    return block if isinstance(block, Mapping) else {}


def _load(file: Path) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        unreadable = PersonaError(f"{_shown(file)} cannot be read: {error.strerror}.")
        raise blame(error, unreadable) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise PersonaError(f"{_shown(file)} is not valid YAML{where}.") from error
    if loaded is not None and not isinstance(loaded, Mapping):
        raise PersonaError(f"{_shown(file)} must be a mapping of keys to values.")
    return loaded or {}


def _shown(file: Path) -> str:
    """Names the folder as well, to tell the two files apart."""
    return f"{file.absolute().parent.name}/{file.name}"
