"""`voipavatar conformance`: what it offers is what the suite takes."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from app.cli import app
from bench.cli import conformance
from bench.devstack import LiveKit, voipavatar
from tests.e2e.waiting import until

SUITE = conformance.ROOT / "bench" / "conformance" / "__main__.py"


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--command", "true", "--api-url", "http://127.0.0.1:9"], "not both"),
        (["--service-pid", "1"], "leave --service-pid out"),
        (["--report", "/nosuch/x.md"], "There is no folder /nosuch for --report"),
        (["--json", "/nosuch/x.json"], "There is no folder /nosuch for --json"),
        (["--json", "/"], "/ is a folder: name a file for --json"),
        (["--report", ""], ". is a folder: name a file for --report"),
        (["--command", "true", "--service-pid", "-1"], "There is no process -1: look at"),
        (["--command", "true", "--service-pid", "0"], "There is no process 0: look at"),
        (["--command", "true"], "Set LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_at_once(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # where no .env is
    for name in ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(conformance, "make_environment", lambda: pytest.fail("began to work"))
    result = CliRunner().invoke(app, ["conformance", *arguments])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1 and sentence in result.output


def test_the_key_is_passed_on_where_nobody_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[list[str], dict[str, str]]] = []

    async def suite(arguments: list[str], env: dict[str, str]) -> int:
        passed.append((arguments, env))
        return 0

    access = {"LIVEKIT_URL": "ws://l", "LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "a secret"}
    for name, value in access.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(conformance, "make_environment", lambda: None)
    monkeypatch.setattr(conformance, "_suite", suite)
    command = ["conformance", "--api-url", "http://127.0.0.1:9", "--api-key", "vk_secret"]
    assert CliRunner().invoke(app, [*command, "--service-pid", "7"]).exit_code == 0
    ((arguments, env),) = passed
    assert not any("secret" in argument for argument in arguments)
    assert env == {"VOIPAVATAR_API_KEY": "vk_secret", **access}
    assert arguments[-2:] == ["--service-pid", "7"]


NOWHERE = {"LIVEKIT_URL": "ws://127.0.0.1:9", "LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s"}
FAILING = "sh -c 'echo in vain: $AVATAR_TOKEN; exit 3'"


async def test_an_api_that_is_not_there_is_one_sentence() -> None:
    code, output = await _suite(NOWHERE, "--api-url", "http://127.0.0.1:9", "--only", "tokens")
    assert (code, output) == (2, "http://127.0.0.1:9 cannot be reached: look at --api-url.\n")


async def test_a_command_is_not_asked_what_only_an_api_can_do() -> None:
    code, output = await _suite(NOWHERE, "--command", "true", "--only", "bey")
    assert code == 2
    assert output.count("\n") == 1 and output.startswith("bey cannot be measured here: ")


async def test_a_secret_that_livekit_refuses_is_one_sentence(livekit_server: LiveKit) -> None:
    access = {**_access(livekit_server), "LIVEKIT_API_SECRET": "another-secret" * 3}
    code, output = await _suite(access, "--command", FAILING, "--only", "tokens")
    assert code == 2
    assert output.count("\n") == 1 and "does not take LIVEKIT_API_KEY" in output


async def test_a_command_that_fails_is_told_with_its_last_words(livekit_server: LiveKit) -> None:
    access = _access(livekit_server)
    code, output = await _suite(access, "--command", FAILING, "--only", "tokens")
    assert code == 2
    assert output == (
        "Nothing can be measured: the worker exited with code 3; its last lines: in vain: <token>. "
        "Look at --command.\n"
    )


def _access(livekit: LiveKit) -> dict[str, str]:
    pair = {"LIVEKIT_API_KEY": livekit.key, "LIVEKIT_API_SECRET": livekit.secret}
    return {"LIVEKIT_URL": livekit.url, **pair}


async def _suite(env: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    """Its exit code, and all that it says."""
    await asyncio.to_thread(conformance.make_environment)
    process = await asyncio.create_subprocess_exec(
        conformance.ROOT / conformance.ENV / "bin" / "python",
        *("-m", "bench.conformance", *arguments),
        cwd=conformance.ROOT,
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("pid", ["-1", "0", "4194305", "9" * 30])
async def test_a_process_that_cannot_be_is_one_sentence(pid: str) -> None:
    code, output = await _suite(NOWHERE, "--command", "true", f"--service-pid={pid}")
    assert (code, output) == (2, f"There is no process {pid}: look at --service-pid.\n")


async def test_an_address_may_end_in_a_slash(livekit_server: LiveKit) -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" HTTP/")[0])
        writer.write(b"HTTP/1.1 418 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        code, output = await _suite(_access(livekit_server), "--api-url", url, "--only", "tokens")
    assert (code, asked[-1]) == (2, "POST /v1/sessions")
    assert "the worker's API answers 418" in output


async def test_the_suite_leaves_ctrl_c_to_us_while_it_is_imported() -> None:
    """Else it would answer with a traceback. What comes to a terminal comes to both."""
    await asyncio.to_thread(conformance.make_environment)
    process = await asyncio.create_subprocess_exec(
        *(*voipavatar(), "conformance", "--command", "true"),
        env={**os.environ, **NOWHERE},
        cwd=conformance.ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )

    def under_way() -> list[psutil.Process]:
        children = psutil.Process(process.pid).children()
        suites = [child for child in children if "bench.conformance" in child.cmdline()]
        return [each for each in suites if any("numpy" in m.path for m in each.memory_maps())]

    await until(lambda: bool(under_way()))
    for suite in under_way():
        suite.send_signal(signal.SIGINT)
    output, _ = await process.communicate()
    assert process.returncode in (2, 130)  # there is nothing to measure; or it came late
    assert "Traceback" not in output.decode()
