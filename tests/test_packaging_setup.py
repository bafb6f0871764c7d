"""`make setup` and the other targets, as far as they can be tried without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TARGETS = ("help", "setup", "demo", "test", "check", "bench", "clean", "livekit-server")


def executable(file: Path, body: str) -> Path:
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def setup(folder: Path, python: Path) -> subprocess.CompletedProcess[str]:
    """scripts/setup.sh in a checkout of its own, where no uv is on the PATH."""
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup.sh", folder / "scripts")
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return subprocess.run(
        [folder / "scripts/setup.sh", "dev"],
        env={**os.environ, "PYTHON": str(python), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_has(target: str) -> None:
    tried = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert tried.returncode == 0, tried.stderr


def test_make_alone_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target} " in shown for target in TARGETS)


def test_demo_passes_its_settings_on() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "demo", "KEEP=1", "SECONDS=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "voipavatar demo --keep --seconds 12" in shown


def test_an_old_python_is_named_in_one_sentence(tmp_path: Path) -> None:
    tried = setup(tmp_path, executable(tmp_path / "python", "exit 1"))
    assert tried.returncode == 1
    assert "Python 3.11 or newer is needed" in tried.stderr
    assert len(tried.stderr.splitlines()) == 1


def test_a_missing_venv_package_is_named_in_one_sentence(tmp_path: Path) -> None:
    # Debian's Python without python3-venv runs programs, but fails at making an environment.
    python = executable(tmp_path / "python", '[ "$1" = -c ]')
    tried = setup(tmp_path, python)
    assert tried.returncode == 1
    assert "apt-get install python3-venv" in tried.stderr
    assert len(tried.stderr.splitlines()) == 1
