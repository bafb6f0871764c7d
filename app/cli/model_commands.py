"""`voipavatar models …`: the weights of MuseTalk's networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from engine import EngineError
from engine.core.remedies import install_extras
from engine.models.layout import NETWORKS, Network
from engine.models.published import all_files, files_of, places

models_app = typer.Typer(help="Get, convert and check the networks' weights.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Option("--models", envvar="VOIPAVATAR_MODELS_DIR", help="Folder of the weights.")
]
Names = Annotated[
    list[str] | None,
    typer.Argument(help=f"Of {', '.join(NETWORKS)}; all by default.", show_default=False),
]
DEFAULT = Path("models")
RANDOM = "random weights that only show that it runs come from `voipavatar models init-random`."


def register(app: typer.Typer) -> None:
    """Add this module's commands to the main command."""
    from app.cli import plan_commands as plans  # noqa: F401 (adds its own commands to models_app)

    app.add_typer(models_app, name="models")


@contextmanager
def plainly() -> Iterator[None]:
    """What the user can mend is said in a sentence, with exit code 1."""
    try:
        yield
    except ImportError as error:
        _refuse(f"{error}. Install the networks' libraries: {install_extras('models')}")
    except EngineError as error:
        _refuse(str(error))


def _refuse(sentence: str) -> NoReturn:
    console = Console(stderr=True)
    console.print(sentence, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1) from None


def _networks(names: list[str] | None) -> list[Network]:
    unknown = [name for name in names or () if name not in NETWORKS]
    if unknown:
        _refuse(f"There is no network called {unknown[0]}; there are {', '.join(NETWORKS)}.")
    return [NETWORKS[name] for name in names or NETWORKS]


@models_app.command("download")
def download_command(names: Names = None, models: Folder = DEFAULT) -> None:
    """Get the published weights from the Hugging Face hub, at pinned revisions."""
    meaning = {
        "record": "as published",
        "hub": "as the hub says; no published record of its hash is known",
        "none": "unchecked: neither a record nor the hub tells its hash",
    }
    chosen = (file for network in _networks(names) for file in files_of(network))
    files = tuple(chosen) if names else all_files()
    with plainly():
        try:
            from engine.prepare.download import fetch
        except ImportError as error:
            _refuse(
                f"{error}. Install the networks' libraries: {install_extras('models')}\n"
                f"Or put the files there by other means:\n{places(models, files)}"
            )
        fetch(
            models,
            files,
            lambda file: typer.echo(f"{models / file.local}: {meaning[file.checked]}"),
        )


@models_app.command("convert")
def convert_command(names: Names = None, models: Folder = DEFAULT) -> None:
    """Make of the published files what serving loads; with names, only of these."""
    with plainly():
        from engine.prepare.weights import convert

        networks = _networks(names)
        present = [each for each in networks if each.weights_path(models).is_file()]
        if not present and not names:
            _refuse(
                f"{models} has no published weights. Run `voipavatar models download`; {RANDOM}"
            )
        for network in networks if names else present:
            typer.echo(f"{convert(models, network)}: ready")
        absent = [each.name for each in networks if each not in present]
        if absent and not names:
            typer.echo(f"Not downloaded, and left out: {', '.join(absent)}.")


@models_app.command("verify")
def verify_command(models: Folder = DEFAULT) -> None:
    """Read every converted network, and compare it with the hash of its conversion."""
    with plainly():
        from engine.prepare.weights import verify

        table = Table("network", "made from", "MiB", "state")
        verdicts = list(verify(models))
        for verdict in verdicts:
            state = verdict.fault or "good"
            table.add_row(verdict.name, verdict.origin, f"{verdict.mib:.1f}", state)
        Console().print(table)
    if any(verdict.fault for verdict in verdicts if verdict.mib):
        raise typer.Exit(1)
    if not any(verdict.mib for verdict in verdicts):
        _refuse(
            f"{models} has no converted weights. Run `voipavatar models download` and "
            f"`voipavatar models convert`; {RANDOM}"
        )


@models_app.command("init-random")
def init_random_command(
    size: Annotated[Literal["tiny", "full"], typer.Option(help="tiny is for tests.")] = "full",
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
    names: Names = None,
    models: Folder = DEFAULT,
) -> None:
    """Write random weights: everything runs and can be measured, but no mouth will fit."""
    with plainly():
        from engine.prepare.random_weights import init_random

        chosen = [network.name for network in _networks(names)]
        for path in init_random(models, size, seed, chosen):
            typer.echo(f"{path}: random, seed {seed}")
