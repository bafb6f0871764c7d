#!/usr/bin/env python3
"""House rules that no linter knows; exits 1 with one line a finding.

Files of at most 300 lines, functions of at most 60; nothing left to do, nothing skipped; no path of
one machine and no package registry's host in what is committed; no uv.lock; no two modules and no
two classes of the product with the same name.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 300
FUNCTION_LINES = 60
PRODUCT = ("app", "engine")

# Each pattern is written so that it does not match its own line.
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|X{3}|NotImplemented[E]rror)\b")
SKIPPED = re.compile(r"\bpytest\.ski[p]|\bmark\.ski[p]|\bxfai[l]|\bSkip[T]est\b")
MACHINE_PATH = re.compile(
    r"(?:^|[\s\"'=(`:])/(?:work|farm|root|tmp/w|tmp/bash_jobs|home/\w+)(?=[/.\s\"'`)]|$)", re.M
)
REGISTRY = re.compile(
    r"\b(?:pypi\.or[g]|pythonhosted\.or[g]|npmjs\.(?:or[g]|co[m])|proxy\.golang\.or[g]|ghcr\.i[o])\b"
)


def committed(root: Path) -> Iterator[Path]:
    """Files that git tracks, or would on `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            yield root / name


def everywhere(text: str) -> Iterator[tuple[int, str]]:
    """Findings of any text file, as (line, what)."""
    for rule, what in (
        (MACHINE_PATH, "names a path of one machine"),
        (REGISTRY, "names a registry"),
    ):
        for match in rule.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, f"{what}: {match.group().strip()}"


def in_python(text: str) -> Iterator[tuple[int, str]]:
    """Findings of a Python file: its length, its functions' lengths, what is unfinished."""
    length = text.count("\n")
    if length > FILE_LINES:
        yield 1, f"{length} lines, {FILE_LINES} at most"
    for rule, what in ((UNFINISHED, "unfinished"), (SKIPPED, "skipped test")):
        for match in rule.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, f"{what}: {match.group()}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            span = (node.end_lineno or node.lineno) - node.lineno + 1
            if span > FUNCTION_LINES:
                yield node.lineno, f"{node.name}() has {span} lines, {FUNCTION_LINES} at most"


def twice(root: Path) -> Iterator[str]:
    """Names that two modules or two classes of the product share: a name is one idea."""
    known: dict[str, str] = {}
    for file in committed(root):
        name = file.relative_to(root)
        if file.suffix != ".py" or name.parts[0] not in PRODUCT:
            continue
        classes = [
            (node.lineno, f"class {node.name}")
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.ClassDef)
        ]
        modules = [] if file.stem.startswith("__") else [(1, f"module {file.stem}")]
        for line, what in (*modules, *classes):
            if what in known:
                yield f"{name}:{line}: {what} is a name of {known[what]}, too"
            known.setdefault(what, str(name))


def findings(root: Path) -> Iterator[str]:
    """Every broken rule under a git checkout, as `file:line: what`."""
    yield from twice(root)
    for file in committed(root):
        name = file.relative_to(root)
        if name.name == "uv.lock":
            yield f"{name}:1: names a registry; requirements/*.txt are the lock files"
            continue
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        rules = [everywhere] if file.suffix != ".py" else [everywhere, in_python]
        for rule in rules:
            for line, what in rule(text):
                yield f"{name}:{line}: {what}"


def main() -> int:
    found = list(findings(Path(__file__).resolve().parent.parent))
    print("\n".join(found) or "house rules: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
