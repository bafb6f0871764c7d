"""The commands that errors suggest, in a checkout and in each kind of installation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.core import remedies
from engine.core.remedies import install_extras, reinstall

WANTED = "livekit>=1,<2"


def test_in_a_checkout_they_are_its_own() -> None:
    assert remedies.IN_CHECKOUT
    assert install_extras("models") == "make setup-all"
    assert install_extras("otel") == "scripts/setup.sh otel"
    assert install_extras("models", "tensorrt") == (
        "make setup-all && uv pip install -e '.[tensorrt]'"
    )
    assert reinstall(WANTED) == "make setup"
    assert reinstall("av", in_checkout="make clean setup") == "make clean setup"


@pytest.mark.parametrize(
    ("file", "pip", "command"),
    [
        ("pyvenv.cfg", True, "'{}/bin/python' -m pip install"),
        ("uv-receipt.toml", False, "uv pip install --python '{}/bin/python'"),
        ("pipx_metadata.json", False, "pipx runpip 'the tool' install"),
    ],
)
def test_installed_they_add_to_that_environment(
    file: str, pip: bool, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = tmp_path / "the tool"
    environment.mkdir()
    (environment / file).touch()
    monkeypatch.setattr(remedies, "IN_CHECKOUT", False)
    monkeypatch.setattr(remedies, "find_spec", lambda name: pip or None)
    monkeypatch.setattr(sys, "prefix", str(environment))
    monkeypatch.setattr(sys, "executable", str(environment / "bin" / "python"))
    start = command.format(environment)
    assert install_extras("models", "otel") == f"{start} 'voipavatar[models,otel]'"
    assert reinstall(WANTED) == f"{start} '{WANTED}'"
