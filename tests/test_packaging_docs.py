"""What the documents say is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.config import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    file.relative_to(ROOT)
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
OURS = {"LIVEKIT_BIND", "LIVEKIT_NODE_IP", "POSTGRES_PASSWORD", "POSTGRES_PORT"}  # compose's own


def variables() -> dict[str, Any]:
    """Every variable that Settings reads, with its default."""
    prefix = str(Settings.model_config["env_prefix"])
    return {
        str(field.validation_alias or prefix + name.upper()): field.get_default(
            call_default_factory=True
        )
        for name, field in Settings.model_fields.items()
    }


def test_env_example_names_every_variable_and_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    shown = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.M))
    assert set(shown) == set(variables()) | OURS
    for name, default in variables().items():
        assert shown[name] == _shown(default), name


def _shown(default: object) -> str:
    if default in (None, ()) or hasattr(default, "get_secret_value"):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_env_example_is_a_valid_env_file() -> None:
    assert Settings(_env_file=ROOT / ".env.example").port == 8080


def test_the_page_of_settings_names_every_variable() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.M)) == set(variables()) | OURS


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / document.parent / target).exists(), f"{document}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_that_are_named_exist(document: Path) -> None:
    text = (ROOT / document).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets
    for words in set(re.findall(r"(?:^|`|/|\$ )voipavatar ([a-z]+(?: [a-z]+)?)\b", text, re.M)):
        assert explained(words.split()), f"{document}: voipavatar {words}"


def explained(words: list[str]) -> bool:
    """Whether `voipavatar WORDS` is a command; its second word may be an argument."""
    return any(
        CliRunner().invoke(app, [*words[:count], "--help"]).exit_code == 0
        for count in range(len(words), 0, -1)
    )


def test_structure_fits_on_a_page_and_names_what_exists() -> None:
    text = (ROOT / "docs/structure.md").read_text()
    assert len(text.splitlines()) <= 60
    for path in re.findall(r"`((?:app|engine|migrations|personas|scripts)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path
