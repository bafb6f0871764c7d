"""`voipavatar conformance`: what it offers is what the suite takes."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app, conformance

SUITE = Path(__file__).parents[1] / "conformance" / "__main__.py"


def test_the_cases_are_those_of_the_suite() -> None:
    (cases,) = [
        node.value
        for node in ast.parse(SUITE.read_text()).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == "CASES"
    ]
    assert isinstance(cases, ast.Dict)
    assert [ast.literal_eval(key) for key in cases.keys if key] == list(conformance.CASES)


def test_help_tells_the_cases_and_the_process() -> None:
    told = CliRunner().invoke(app, ["conformance", "--help"], terminal_width=200).output
    assert all(case in told for case in conformance.CASES)
    assert "--service-pid" in told


def test_an_unknown_case_is_one_sentence() -> None:
    result = CliRunner().invoke(app, ["conformance", "--only", "segment"])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1 and "turn-start" in result.output


def test_the_key_is_passed_on_where_nobody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[list[str], dict[str, str]]] = []

    async def suite(arguments: list[str], env: dict[str, str]) -> int:
        passed.append((arguments, env))
        return 0

    monkeypatch.setattr(conformance, "make_environment", lambda: None)
    monkeypatch.setattr(conformance, "_suite", suite)
    command = ["conformance", "--api-url", "http://127.0.0.1:9", "--api-key", "vk_secret"]
    assert CliRunner().invoke(app, [*command, "--service-pid", "7"]).exit_code == 0
    ((arguments, env),) = passed
    assert not any("secret" in argument for argument in arguments)
    assert env == {"VOIPAVATAR_API_KEY": "vk_secret"}
    assert arguments[-2:] == ["--service-pid", "7"]


async def test_an_api_that_is_not_there_is_one_sentence() -> None:
    await asyncio.to_thread(conformance.make_environment)
    process = await asyncio.create_subprocess_exec(
        conformance.ROOT / conformance.ENV / "bin" / "python",
        *("-m", "tests.conformance", "--api-url", "http://127.0.0.1:9", "--only", "tokens"),
        *("--livekit-url", "ws://127.0.0.1:9", "--livekit-key", "k", "--livekit-secret", "s"),
        cwd=conformance.ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 2
    assert output.decode() == "http://127.0.0.1:9 cannot be reached: look at --api-url.\n"
