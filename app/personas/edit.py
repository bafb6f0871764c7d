"""Edits one persona in personas.yaml and leaves the rest of the file untouched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from app.personas.manifest import FILE, read_blocks
from engine import PersonaError
from engine.core.new_file import NewFile

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_name(name: str) -> None:
    """Raises PersonaError for an invalid name; the name also names a folder."""
    if not NAME.fullmatch(name):
        raise PersonaError(
            f"{name!r} cannot name a persona: use up to 64 letters, digits, '-', '_' and '.', "
            "beginning with a letter or digit."
        )


def with_block(personas_dir: Path, name: str, changes: Mapping[str, Any]) -> str:
    """The file's text with keys of one persona set, which may be new; the rest is unchanged.

    Raises PersonaError if the file cannot be edited.
    """
    blocks = read_blocks(personas_dir)
    wanted = {**blocks, name: {**(blocks.get(name) or {}), **changes}}
    file = personas_dir / FILE
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    edited = _with_keys(text, name, changes)
    if _loaded(edited) != wanted:
        raise PersonaError(
            f"{FILE} has a format that cannot be edited safely. Add this yourself:\n"
            + _block(name, wanted[name])
        )
    return edited


def write_file(personas_dir: Path, text: str) -> None:
    """Replace personas.yaml. Raises OSError."""
    with NewFile(personas_dir / FILE) as new:
        new.write_text(text, encoding="utf-8")


def _loaded(text: str) -> object:
    try:
        return {str(key): value for key, value in (yaml.safe_load(text) or {}).items()}
    except (yaml.YAMLError, AttributeError):
        return None


def _with_keys(text: str, name: str, changes: Mapping[str, Any]) -> str:
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if _is_head(line, name)), None)
    if start is None:
        gap = [""] if lines and lines[-1].strip() else []
        return "\n".join([*lines, *gap, _block(name, changes)]) + "\n"
    end = start + 1
    while end < len(lines) and (lines[end].startswith((" ", "\t")) or not lines[end].strip()):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    body = lines[start + 1 : end]
    indent = next((line[: -len(line.lstrip())] for line in body if line.strip()), "  ")
    for key, value in changes.items():
        new = f"{indent}{key}: {_inline(value)}"
        at = next((i for i, line in enumerate(body) if line.startswith(f"{indent}{key}:")), None)
        if at is None:
            body.append(new)
        else:
            body[at] = new
    return "\n".join([*lines[: start + 1], *body, *lines[end:]]) + "\n"


def _is_head(line: str, name: str) -> bool:
    return line.rstrip() in (f"{name}:", f'"{name}":', f"'{name}':")


def _block(name: str, keys: Mapping[str, Any]) -> str:
    body = [f"  {key}: {_inline(value)}" for key, value in keys.items()]
    return "\n".join([f"{_inline(name)}:", *body])


def _inline(value: object) -> str:
    """A value on one line, quoted where YAML needs it."""
    listed: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1e9)
    return listed.strip()[1:-1]
