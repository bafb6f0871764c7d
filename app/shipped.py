"""What comes with the code: the default persona, sample speech, migrations, the version.

A checkout has them at their places in the repository, an installed wheel as package data.
"""

from __future__ import annotations

from importlib.metadata import version as installed_version
from pathlib import Path

from engine import remedies

_DATA = Path(__file__).with_name("package_data")  # in wheels only; pyproject.toml says of what
_BASE = _DATA if _DATA.is_dir() else remedies.ROOT

SAMPLE = _BASE / "samples" / "speech.wav"
PERSONAS = _BASE / "personas"
MIGRATIONS = _BASE / "migrations"
SCRIPTS = remedies.ROOT / "scripts"


def personas_folder() -> Path:
    """`personas` in the current folder if it has a personas.yaml, else the one that was shipped."""
    here = Path("personas")
    return here if (here / "personas.yaml").is_file() else PERSONAS


def version() -> str:
    """Read from the installed metadata, which pyproject.toml becomes."""
    return installed_version("voipavatar")
