"""docs/security.md names a test for each fault, and each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
# `tests/…/test_x.py::test_a`, and after it `::test_b` or `…::test_b` of the same file.
NAMED = re.compile(r"`(?P<file>[\w/.-]+/test_\w+\.py|…)?(?:::(?P<test>\w+))?`")


def test_each_test_that_the_page_names_exists() -> None:
    file, missing, found = "", [], 0
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        for match in NAMED.finditer(line if line.startswith("|") else ""):
            if match["file"] and match["file"] != "…":
                file = match["file"]
            path = ROOT / file
            text = path.read_text(encoding="utf-8") if file and path.is_file() else ""
            found += 1
            if not text or (match["test"] and f"def {match['test']}(" not in text):
                missing.append(f"{file}{match[0]}")
    assert not missing
    assert found > 80
