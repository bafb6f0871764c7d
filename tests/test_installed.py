"""The wheel in an environment of its own and an empty folder: voipavatar without a clone."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import tomllib
import venv
import wave
import zipfile
from pathlib import Path

import av
import pytest

from app.shipped import SAMPLE
from tests.test_packaging import build

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
SHIPPED = (
    "app/package_data/personas/personas.yaml",
    "app/package_data/personas/default/default.mp4",
    "app/package_data/samples/speech.wav",
    "app/package_data/migrations/env.py",
    "app/py.typed",
    "engine/py.typed",
)


class Installed:
    """The command of a fresh environment, in an empty folder."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.bin = environment / "bin"
        self.folder = folder

    def run(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("VOIPAVATAR_", "PYTHON"))}
        return subprocess.run(
            [self.bin / "voipavatar", *map(str, words)],
            cwd=self.folder,
            env={**kept, "COLUMNS": "300", **env},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Needs no network: what the wheel depends on is looked up in the environment of the tests."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    command.append(str(wheel.filename))
    subprocess.run(command, check=True)
    # Folders in a .pth are searched, but the .pth files in them are not read: no checkout is found.
    packages = environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return Installed(environment, tmp_path_factory.mktemp("empty"))


def test_the_wheel_holds_what_is_shipped_and_no_instruments(wheel: zipfile.ZipFile) -> None:
    held = set(wheel.namelist())
    assert held >= set(SHIPPED)
    metadata = {name.split("/")[0] for name in held if ".dist-info" in name.split("/")[0]}
    assert {name.split("/")[0] for name in held} == {"app", "engine", *metadata}
    pictures = {name for name in held if name.startswith("app/package_data/personas/default/")}
    assert pictures == {"app/package_data/personas/default/default.mp4"}  # not what draws it


def test_the_version_has_one_source(installed: Installed) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert installed.run("--version").stdout == f"voipavatar {wanted}\n"


def test_it_speaks_with_the_persona_and_the_sample_that_it_brings(installed: Installed) -> None:
    assert installed.run("samples", "--out", "all.wav").returncode == 0
    with wave.open(str(installed.folder / "all.wav")) as whole:
        assert (installed.folder / "all.wav").read_bytes() == SAMPLE.read_bytes()
        parameters, frames = whole.getparams(), whole.readframes(2 * whole.getframerate())
    with wave.open(str(installed.folder / "sentence.wav"), "wb") as sentence:
        sentence.setparams(parameters)
        sentence.writeframes(frames)
    done = installed.run("render", "--audio", "sentence.wav", "--out", "spoken.mp4")
    assert done.returncode == 0, done.stderr
    with av.open(str(installed.folder / "spoken.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 50
    assert (installed.folder / "data" / "personas").is_dir()  # what was prepared


def test_doctor_misses_only_livekit_and_names_commands_that_work_here(installed: Installed) -> None:
    found = json.loads(installed.run("doctor", "--json", LIVEKIT_API_KEY="").stdout)
    assert [each["what"] for each in found if each["state"] == "missing"] == ["LiveKit"]
    remedies = {each["what"]: each["remedy"] for each in found}
    assert not [text for text in remedies.values() if "make " in text or "scripts/" in text]
    python = installed.bin / "python"
    assert remedies["Engine torch"] in (
        f"Install them with: {python} -m pip install 'voipavatar[models]'",
        "",  # the environment of the tests has them
    )


def test_own_personas_go_to_the_data_folder_here(installed: Installed) -> None:
    made = installed.run("persona", "prepare", "--name", "default", "--display-name", "Eve")
    assert made.returncode == 0, made.stderr
    assert (installed.folder / "data" / "own" / "personas.yaml").is_file()
    assert "Eve" in installed.run("persona", "list").stdout


@pytest.mark.parametrize("command", [["bench", "sessions"], ["demo"], ["conformance", "--short"]])
def test_instruments_say_that_they_come_with_the_source(
    installed: Installed, command: list[str]
) -> None:
    refused = installed.run(*command)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"`voipavatar {command[0]}` comes with the source: "
        "clone the repository and run `make setup` there.\n"
    )
