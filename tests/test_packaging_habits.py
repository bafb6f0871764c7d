"""What editors, hooks and the CI host are told is there; decision records are whole and indexed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "docs" / "adr").glob("0*.md"))


def hooks() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in loaded["repos"]] == ["local"], "hooks must fetch nothing"
    return [hook for repo in loaded["repos"] for hook in repo["hooks"]]


def test_hooks_run_what_make_check_runs() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    for hook in hooks():
        assert hook["language"] == "system"
        program, *arguments = hook["entry"].split()
        assert f"\t{program} " in makefile or f"\t{program}\n" in makefile, hook["id"]
        for argument in arguments:
            assert argument in makefile, hook["id"]


def test_the_workflow_runs_the_checks_and_builds_the_image() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in steps
    assert any(step.startswith("docker build ") for step in steps)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("record", RECORDS, ids=lambda file: file.stem)
def test_a_record_says_why_and_is_indexed(record: Path) -> None:
    text = record.read_text()
    title, status = re.match(r"# \d{4}: (.+)\n\n\*\*Status\*\*: (\w+)", text).groups()  # type: ignore[union-attr]
    for part in ("Context", "Decision", "Consequences"):
        assert f"**{part}.**" in text
    row = f"| [{record.stem[:4]}]({record.name}) | {title} | {status} |"
    assert row in (record.parent / "README.md").read_text()


def test_records_are_numbered_without_gaps() -> None:
    assert [int(file.stem[:4]) for file in RECORDS] == list(range(1, len(RECORDS) + 1))
