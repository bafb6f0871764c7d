"""`voipavatar doctor`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.config import Settings
from app.doctor.finding import Finding

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    app.command()(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of findings.")] = False,
) -> None:
    """Say what is installed, reachable and missing, and how to get it.

    Exits with 1 when something is missing that the service cannot do without.
    """
    from app.doctor.examine import examine  # other commands need not load all it looks at

    findings = asyncio.run(examine(Settings()))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    raise typer.Exit(any(finding.state == "missing" for finding in findings))


def _show(findings: list[Finding]) -> None:
    table = Table("", "")
    table.add_column("what is found, and [bold]what mends it[/]", overflow="fold")
    for finding in findings:
        remedy = f"\n[bold]{escape(finding.remedy)}[/]" if finding.remedy else ""
        table.add_row(finding.what, _MARKS[finding.state], escape(finding.detail) + remedy)
    Console().print(table)
