"""What is built and installed: the wheel, the command, the lock files."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.entry import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "serve",
    "run",
    "render",
    "persona",
    "keys",
    "demo",
    "bench",
    "conformance",
    "doctor",
    "models",
    "parity",
)


def pins(name: str) -> dict[str, str]:
    """Version of every package that a lock file pins."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.M))


def locks() -> list[str]:
    return sorted(file.stem for file in (ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The project, built as a wheel."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def build(project: Path, folder: Path) -> zipfile.ZipFile:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=project,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    modules = {
        str(file.relative_to(ROOT))
        for package in ("app", "engine")
        for file in (ROOT / package).rglob("*.py")
    }
    assert modules and modules <= held
    assert not any(name.startswith(("tests/", "personas/")) for name in held)


def test_the_plugins_wheel_holds_its_license(tmp_path: Path) -> None:
    held = build(ROOT / "plugins" / "livekit-plugins-voipavatar", tmp_path)
    (license_file,) = [name for name in held.namelist() if name.endswith("/LICENSE")]
    assert held.read(license_file) == (ROOT / "LICENSE").read_bytes()


def test_an_installed_wheel_migrates_its_database(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "installed")
    program = (
        "import asyncio, app.db.migrate as m; from app.db.database import Database;"
        "assert 'installed' in m.__file__;"
        "asyncio.run(m.migrate(Database('sqlite+aiosqlite:///new.db')))"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        check=True,
    )
    with sqlite3.connect(tmp_path / "new.db") as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert "sessions" in tables


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage" in shown.output


@pytest.mark.parametrize("command", [["doctor"], ["keys", "list"], ["persona", "list"]])
def test_a_wrong_setting_is_named_in_a_sentence(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOIPAVATAR_PORT", "http")
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 1
    assert said.stderr.startswith("Wrong setting VOIPAVATAR_PORT: ")
    assert len(said.stderr.splitlines()) == 1


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).parent / "voipavatar"
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "LiveKit" in shown.stdout
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="voipavatar")
    assert entry.load() is main, "it would end as app.rtc.exit says that no process should"


def test_the_base_install_stays_light() -> None:
    heavy = {"torch", "diffusers", "transformers", "onnxruntime", "tensorrt"}
    assert not heavy & set(pins("base"))


def test_everything_that_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[<>=~!; ]", line)[0].lower() for line in project["dependencies"]}
    assert wanted <= set(pins("base"))


@pytest.mark.parametrize("name", locks())
def test_locks_are_hashed_and_agree(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.M)
    unhashed = [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry]
    assert not unhashed
    if name == "agents":  # an environment of its own: LiveKit's agents pin another livekit
        return
    developed = pins("dev")
    differing = {
        package: (version, developed[package])
        for package, version in pins(name).items()
        if developed.get(package, version) != version
    }
    assert not differing, "installed one after another, they would undo each other"
