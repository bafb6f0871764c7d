"""The short form of the suite and the plugin's tests, in the environment of the real agents."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from app.cli.conformance import ENV, ROOT, make_environment
from app.local import local_livekit, voipavatar

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


async def test_the_service_does_what_an_agent_expects(tmp_path: Path) -> None:
    report, paper = tmp_path / "report.json", tmp_path / "report.md"
    options = ["--short", "--json", str(report), "--report", str(paper)]
    command = [*voipavatar(), "conformance", *options]
    suite = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )
    assert report.is_file(), suite.stderr
    told = json.loads(report.read_text())
    assert told["packages"]["livekit-agents"] == "1.8.9"
    assert told["server"].startswith("LiveKit server 1.")
    checks = told["checks"]
    published = paper.read_text()
    assert published.startswith("# Conformance of voipavatar 0.")
    assert all(check["name"] in published for check in checks)
    assert {check["point"] for check in checks} >= {"segments", "interruption", "storm", "plugins"}
    # How quick it is depends on the machine; a busy one may take its time.
    wrong = [check for check in checks if not check["ok"] and check["unit"] in ("", "faults")]
    assert not wrong, suite.stderr


async def test_the_plugin_keeps_the_agent_audible(tmp_path: Path) -> None:
    await asyncio.to_thread(make_environment)
    async with local_livekit(tmp_path) as livekit:
        env = {
            **os.environ,
            "LIVEKIT_URL": livekit.url,
            "LIVEKIT_API_KEY": livekit.key,
            "LIVEKIT_API_SECRET": livekit.secret,
        }
        python = ROOT / ENV / "bin" / "python"
        command = [python, "-m", "pytest", "-q", "plugins/livekit-plugins-voipavatar"]
        tests = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
    assert tests.returncode == 0, tests.stdout
