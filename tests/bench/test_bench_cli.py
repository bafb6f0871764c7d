"""What cannot be measured or written is refused before anything is measured."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import LIBRARIES, app
from bench.cli.sessions import settings_of


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("sessions --json nowhere/found.json", "mkdir -p nowhere"),
        ("sessions --html nowhere/report.html", "mkdir -p nowhere"),
        ("warp --json .", "is a folder"),
        ("cycles --json nowhere/found.json", "mkdir -p nowhere"),
        ("load --json nowhere/found.json", "mkdir -p nowhere"),
        ("sessions --livekit-server nowhere", "does not exist"),
        ("sessions --people nowhere", "does not exist"),
        ("sessions --set VOIPAVATAR_HOSTZ=2", "VOIPAVATAR_HOSTS"),
        ("sessions --set HOSTS", "NAME=VALUE"),
        ("sessions --limit gap=-1", "gap=100"),
        ("features --audio . --left x", "write them as"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    found = CliRunner().invoke(app, ["bench", *words.split()])
    assert (found.exit_code, told in found.output) == (2, True), found.output


def test_an_engine_that_is_none_is_a_sentence() -> None:
    found = CliRunner().invoke(app, ["bench", "load", "-n", "1", "--engine", "bogus"])
    assert found.exit_code == 1
    assert isinstance(found.exception, SystemExit)  # no traceback
    assert "bogus" in found.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--engine foo", "Wrong setting VOIPAVATAR_ENGINE"),
        ("--set VOIPAVATAR_HOSTS=many", "Wrong setting VOIPAVATAR_HOSTS"),
        ("--engine torch --models .", "voipavatar models download"),
    ],
)
def test_what_the_service_would_refuse_is_refused_before_it_is_started(
    words: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: object) -> None:
        raise AssertionError("the benchmark began")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.cli.sessions.run_benchmark", never)
    found = CliRunner().invoke(app, ["bench", "sessions", *words.split()])
    assert (found.exit_code, told in found.output) == (1, True), found.output


def test_settings_are_known_by_their_names() -> None:
    given = ["VOIPAVATAR_HOSTS=2", "LIVEKIT_URL=ws://x=y", "VOIPAVATAR_TEST_STALLS=1:200"]
    assert settings_of("", None, None, given) == {
        "VOIPAVATAR_HOSTS": "2",
        "LIVEKIT_URL": "ws://x=y",
        "VOIPAVATAR_TEST_STALLS": "1:200",
    }


@pytest.mark.parametrize("command", ["bench", "demo", "conformance"])
def test_a_library_that_is_missing_is_named_with_what_installs_it(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.LIBRARIES", ("rich", "library_that_is_missing"))
    found = CliRunner().invoke(app, [command, "sessions", "-n", "1"])
    assert found.exit_code == 1
    assert found.output == (
        f"`voipavatar {command}` needs library_that_is_missing, not installed here: "
        "run `make setup` in the checkout.\n"
    )
    assert command in CliRunner().invoke(app, ["--help"]).output  # the rest works without


def test_the_libraries_looked_for_are_those_of_the_extra() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    extra = {re.split(r"\W", each)[0] for each in project["optional-dependencies"]["bench"]}
    assert extra == set(LIBRARIES)
    base = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]}
    assert base & extra == {"psutil", "rich"}  # which the service and its commands need too


def test_the_wheel_has_no_instruments() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    held = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert "app" in held
    assert not any(each.startswith("bench") for each in held)
