"""Every page and section that code, comments and documents cite exists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"

# A bare § belongs to the page of its folder.
HOME = {
    "app/rtc": "livekit.md",
    "engine": "musetalk.md",
    "tests/engine": "musetalk.md",
    "tests/networks": "musetalk.md",
    "bench": "musetalk.md",
    "tests/bench": "musetalk.md",
}
CODE = {".py", ".sh", ".go", ".toml", ".yaml", ".yml", ".mako", ".example", ""}
NOT_CODE = ("requirements/", "LICENSE", "tests/test_citations.py")

PAGE = r"(?P<page>(?:[\w-]+/)*[\w-]+\.md)"
PLACE = r"""(?:,?\s(?P<sections>§[\d.]+(?:,\s§[\d.]+)*)      # livekit.md §1.5, §2
             |,\s"(?P<quoted>[^"]+)"                         # docs/api.md, "States"
             |,\s(?P<named>[A-Z]\w+(?:\s[a-z]+)*)            # contract.md, Starting it
             |,\s(?P<head>head)\b)?"""
CITATION = re.compile(rf"""(?<![\w/.:"-]){PAGE}{PLACE}""", re.X)  # "report.md" is a file name
BARE = re.compile(r"§(\d[\d.]*)")
ITEM = re.compile(
    r"\s*(?:,\s(?P<kind>item|items|flaw|lever)\s(?P<first>\d)(?:\sto\s(?P<last>\d))?)?"
)


class Citation(NamedTuple):
    where: str
    page: str
    place: str


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [file for name in listed.split("\0") if name and (file := ROOT / name).is_file()]


def sources() -> Iterator[tuple[Path, str]]:
    """Code and configuration, each comment joined to one line."""
    for file in tracked():
        name = file.relative_to(ROOT).as_posix()
        if file.suffix in CODE and not name.startswith(NOT_CODE):
            yield file, re.sub(r"\n\s*(?:# |// )?", " ", file.read_text())


@cache
def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", page.read_text(), re.M)


@cache
def numbered(page: Path) -> dict[str, str]:
    """Text of each numbered section, its subsections included, by its number."""
    found: dict[str, str] = {}
    parts = re.split(r"^(#+) (\d[\d.]*?)\.? ", page.read_text(), flags=re.M)
    for level, number, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found[number] = re.split(rf"^#{{1,{len(level)}}} ", text, maxsplit=1, flags=re.M)[0]
    return found


def resolved(file: Path, page: str) -> Path | None:
    """The page that a comment in `file` means: beside it, from the root, or a reference."""
    for folder in (ROOT, file.parent, REFERENCE):
        if (folder / page).is_file():
            return folder / page
    return None


def missing(file: Path, text: str) -> Iterator[str]:
    """Citations of `text` that lead nowhere."""
    for match in CITATION.finditer(text):
        page = resolved(file, match["page"])
        if page is None:
            yield f"{match['page']}: no such page"
        elif match["sections"]:
            rest = text[match.end() :]
            for number in BARE.findall(match["sections"]):
                yield from missing_section(page, number.rstrip("."), rest)
        elif match["head"]:
            if not re.match(r"# .+\n+[^#\s]", page.read_text()):
                yield f"{match['page']}: nothing stands before its first section"
        elif name := match["quoted"] or match["named"]:
            wanted = name.rstrip("….")
            if not any(heading.startswith(wanted) for heading in headings(page)):
                yield f"{match['page']}: no section {name!r}"


def missing_section(page: Path, number: str, rest: str) -> Iterator[str]:
    sections = numbered(page)
    if number not in sections:
        yield f"{page.name}: no section {number}"
        return
    item = ITEM.match(rest)
    if item and item["kind"]:
        for wanted in range(int(item["first"]), int(item["last"] or item["first"]) + 1):
            listed = re.search(rf"^{wanted}\. ", sections[number], re.M)
            if not listed and f"{number}.{wanted}" not in sections:
                yield f"{page.name} §{number}: no item {wanted}"


def bare_missing(file: Path, text: str) -> Iterator[str]:
    folders = [str(folder) for folder in file.relative_to(ROOT).parents]
    home = next((HOME[folder] for folder in folders if folder in HOME), None)
    for match in BARE.finditer(CITATION.sub("", text)):
        if home is None:
            yield f"§{match[1]}: of which page?"
        else:
            yield from missing_section(
                REFERENCE / home, match[1].rstrip("."), text[match.end() : match.end() + 20]
            )


def test_what_code_cites_exists() -> None:
    lost = [
        f"{file.relative_to(ROOT)}: {what}"
        for file, text in sources()
        for what in (*missing(file, text), *bare_missing(file, text))
    ]
    assert lost == []


def test_code_does_cite() -> None:
    """The pattern still finds what it is for."""
    cited = {match["page"] for _, text in sources() for match in CITATION.finditer(text)}
    assert {"livekit.md", "musetalk.md", "docs/benchmarks.md"} <= cited


def anchor(heading: str) -> str:
    """As the usual hosts make it: no markup, no punctuation, hyphens for spaces."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


DOCUMENTS = [file.relative_to(ROOT) for file in tracked() if file.suffix == ".md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_to_sections_that_exist(document: Path) -> None:
    file = ROOT / document
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", file.read_text()):
        path, _, section = target.partition("#")
        page = file.parent / path if path else file
        assert page.exists(), target
        if section and page.suffix == ".md":
            assert section in {anchor(heading) for heading in headings(page)}, target


@pytest.mark.parametrize(
    "text",
    [
        "(nowhere.md)",
        "(livekit.md §9.9)",
        "(livekit.md §1.5, flaw 8)",
        "(musetalk.md §2, items 2 to 9)",
        'docs/api.md, "No such part"',
        "contract.md, Nothing of the kind",
    ],
)
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    assert list(missing(ROOT / "engine" / "some.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "(livekit.md §1.5, flaw 1)",
        "(musetalk.md §1.3, §2)",
        "(musetalk.md §2, items 2 to 4)",
        "livekit.md, head",
        "contract.md, Starting it",
        'docs/benchmarks.md, "Where a session\'s time goes"',
    ],
)
def test_a_citation_of_what_exists_is_none(text: str) -> None:
    assert list(missing(ROOT / "engine" / "some.py", text)) == []
