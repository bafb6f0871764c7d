"""`voipavatar parity`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.model_commands import DEFAULT, plainly
from app.cli.model_commands import Folder as Models
from app.config import Settings
from engine.parity.checks import compare
from engine.parity.vectors import BrokenVectors, Result

Folder = Annotated[
    Path | None, typer.Argument(help="Folder of reference vectors (.npz).", show_default=False)
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Compare this machine's TensorRT plans with PyTorch instead.")
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Pass although a check could not run here.")
]


ROW = "{:<44} {:<13} {:<11} {}"


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    app.command()(parity)


def parity(
    directory: Folder = None,
    allow_missing: AllowMissing = False,
    plan: Plan = False,
    version: Annotated[
        Literal["v15", "v1"], typer.Option(help="Of MuseTalk, with --plan.")
    ] = "v15",
    decoder: Annotated[Literal["kl", "tiny"], typer.Option(help="With --plan.")] = "kl",
    models: Models = DEFAULT,
) -> None:
    """Compare this installation with vectors of the reference implementation.

    Exits with 1 if a check fails or could not run, and with 2 if nothing could be read.
    """
    if plan:
        _plans(models, version, decoder)
        return
    if directory is None:
        typer.echo("Name the folder of reference vectors, or --plan.", err=True)
        raise typer.Exit(2)
    results: list[Result] = []
    typer.echo(ROW.format("check", "max abs error", "allowed", "pass"))
    try:
        for result in compare(directory):
            typer.echo(_row(result))
            results.append(result)
    except BrokenVectors as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    failed = [r for r in results if not r.passed and not (allow_missing and not r.ran)]
    typer.echo(_verdict(results))
    raise typer.Exit(1 if failed else 0)


def _plans(models: Path, version: str, decoder: str) -> None:
    with plainly():
        from engine.parity import plan_set

        hearing = Settings().hearing()
        plans = plan_set.served_here(models, version, decoder, hearing)
        for proof in plan_set.proofs(plans, models, version, decoder, hearing):
            typer.echo(str(proof))


def _row(result: Result) -> str:
    error = f"{result.error:.3g}" if result.ran else "-"
    passed = ("yes" if result.passed else "NO") if result.ran else "not run"
    return ROW.format(result.check, error, f"{result.allowed:g}", passed)


def _verdict(results: list[Result]) -> str:
    """A line for each check that did not pass, and the count."""
    lines = [f"{r.check}: {r.note}" for r in results if not r.passed and r.note]
    passed = sum(result.passed for result in results)
    return "\n".join([*lines, f"{passed} of {len(results)} checks passed."])
