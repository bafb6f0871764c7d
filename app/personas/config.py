"""personas.yaml: a block for each persona, with paths relative to the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from engine.errors import PersonaError
from engine.prepare.settings import MUSETALK_KEYS, NEWEST, PersonaSettings, parse_settings
from engine.shortage import blame

FILE = "personas.yaml"


def read_blocks(personas_dir: Path) -> dict[str, Any]:
    """Name to block, unchecked; empty where there is no file. Raises PersonaError."""
    file = personas_dir / FILE
    if not file.is_file():
        return {}
    loaded = _load(file)
    return {str(name): block for name, block in loaded.items()}


def settings_of(
    name: str, block: object, personas_dir: Path, version: str = NEWEST
) -> PersonaSettings:
    """Checked settings of one persona, `inference_config` filled in. Raises PersonaError.

    Args:
        version: of MuseTalk, that the service serves.
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
        unreadable = PersonaError(f"{file.name} cannot be read: {error.strerror}.")
        raise blame(error, unreadable) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise PersonaError(f"{file.name} is not valid YAML{where}.") from error
    if loaded is not None and not isinstance(loaded, Mapping):
        raise PersonaError(f"{file.name} must hold keys with values.")
    return loaded or {}
