"""The house rules' own check: this checkout keeps them, and each broken rule is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from check_house_rules import findings  # noqa: E402

# Put together here, so that this file does not break the rules itself.
BROKEN = {
    "long.py": ("x = 1\n" * 301, "301 lines"),
    "big.py": ("def f() -> int:\n" + "    x = 1\n" * 60 + "    return x\n", "62 lines"),
    "later.py": ("# TO" + "DO: the rest\n", "unfinished"),
    "skipped.py": ("import pytest\n\npytest." + "skip('not now')\n", "skipped test"),
    "place.md": ("see `/" + "root/notes`\n", "path of one machine"),
    "source.txt": ("--index-url https://py" + "pi.org/simple\n", "registry"),
    "uv.lock": ("version = 1\n", "registry"),
}


def checkout(folder: Path) -> Path:
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def test_this_checkout_keeps_them() -> None:
    assert list(findings(ROOT)) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(tmp_path: Path, name: str) -> None:
    text, what = BROKEN[name]
    (checkout(tmp_path) / name).write_text(text)
    (found,) = findings(tmp_path)
    assert found.startswith(f"{name}:") and what in found


def test_a_name_of_two_classes_or_modules_is_found(tmp_path: Path) -> None:
    checkout(tmp_path)
    for package, module in (("app", "one"), ("engine", "one"), ("engine", "two"), ("bench", "one")):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / f"{module}.py").write_text("class Voice:\n    pass\n")
    found = [each.split(": ")[1].split(" is ")[0] for each in findings(tmp_path)]
    assert sorted(found) == ["class Voice", "class Voice", "module one"]


def test_at_the_limits_nothing_is_found(tmp_path: Path) -> None:
    checkout(tmp_path)
    (tmp_path / "full.py").write_text("x = 1\n" * 300)
    (tmp_path / "just.py").write_text("def f() -> None:\n" + "    x = 1\n" * 59)
    assert list(findings(tmp_path)) == []
